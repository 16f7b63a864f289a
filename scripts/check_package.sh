#!/bin/sh
# Build the package, and use it as someone who has nothing else:
#   sh scripts/check_package.sh [--full]
# The wheel made from the checkout and the one made from the sdist must hold the same; the metadata must pass
# `twine check --strict` (so the README renders); and from an empty directory, with PYTHONPATH unset, the console script
# trains, evaluates and recommends by the bundled sample alone, and writes nothing beside the installed files.
# The TensorFlow is that of PYTHON, else of .venv-test-<version> if there is one; --full, or where neither
# has one, installs the wheel with its extra `cpu`. Needs the network, for build and twine.
set -u
me=scripts/check_package.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@"; then
    sed -n '2,9s/^# \{0,1\}//p' "$root/$me"
    exit 0
fi
full=
case ${1:-} in
    --full) full=1 && shift ;;
esac
[ $# = 0 ] || fail "unknown argument $1; the only one is --full"

find_base
unset PYTHONPATH
scratch=$(mktemp -d) || exit 2
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# step WHAT COMMAND...: quiet unless it fails.
step() {
    what=$1
    shift
    "$@" >"$scratch/log" 2>&1 && return
    cat "$scratch/log" >&2
    fail "$what failed"
}

# lends_tensorflow PYTHON: prints its site-packages if it has TensorFlow.
lends_tensorflow() {
    can_import "$1" tensorflow numpy pandas >/dev/null || return
    "$1" -c '
import os
from importlib.util import find_spec
print(os.path.dirname(os.path.dirname(find_spec("tensorflow").origin)))'
}

# contents WHEEL: checksum and name of every file in it but RECORD, sorted.
contents() {
    "$base" -c '
import hashlib, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in sorted(wheel.namelist()):
        if not name.endswith("/RECORD"):
            print(hashlib.sha256(wheel.read(name)).hexdigest(), name)
' "$1"
}

# installed: checksum and name of every installed file of the package.
installed() { find "$site" -path '*gru4rec*' -type f -exec cksum {} + | sort; }

step "python -m venv" "$base" -m venv "$scratch/tools"
step "pip install of the tools" "$scratch/tools/bin/python" -m pip install build twine "setuptools>=61" wheel
# A copy: what an earlier build left in build/ would get into the wheel.
mkdir "$scratch/source"
(cd "$root" && for name in * .ci .github; do
    case $name in build | dist | checkpoint* | output) ;; *) printf '%s\n' "$name" ;; esac
done | tar -cf - --exclude='*.egg-info' --exclude=__pycache__ -T -) | tar -xf - -C "$scratch/source" ||
    fail "cannot copy the checkout to $scratch"
step "the sdist and its wheel" "$scratch/tools/bin/python" -m build -n -o "$scratch/dist" "$scratch/source"
step "the wheel of the checkout" "$scratch/tools/bin/python" -m build -n -w -o "$scratch/direct" "$scratch/source"
wheel=$(echo "$scratch"/dist/*.whl) sdist=$(echo "$scratch"/dist/*.tar.gz)
contents "$wheel" >"$scratch/a"
contents "$scratch"/direct/*.whl >"$scratch/b"
[ -s "$scratch/a" ] && diff "$scratch/a" "$scratch/b" >&2 || fail "the sdist makes another wheel than the checkout"
tar -tzf "$sdist" >"$scratch/names"
for name in tests/unit/ docs/inside/design.md scripts/test.sh benchmarks/ data/README.md CHANGELOG.md LICENSE; do
    grep -q "^[^/]*/$name" "$scratch/names" || fail "the sdist lacks $name"
done
step "twine check --strict" "$scratch/tools/bin/python" -m twine check --strict "$wheel" "$sdist"

version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
step "python -m venv" "$base" -m venv "$scratch/clean"
site=$(echo "$scratch"/clean/lib/python*/site-packages)
lender=
[ -n "$full" ] || lender=$(lends_tensorflow "$base" || lends_tensorflow "$root/.venv-test-$version/bin/python")
if [ -n "$lender" ]; then
    step "pip install of the wheel" "$scratch/clean/bin/python" -m pip install --no-deps --no-index "$wheel"
    echo "$lender" >"$site/lent.pth" # its own .pth files are not read, so no checkout comes with it
else
    step "pip install of pip" "$scratch/clean/bin/python" -m pip install "pip>=20.3"
    step "pip install of the wheel with [cpu]" "$scratch/clean/bin/python" -m pip install "$wheel[cpu]"
fi

place="$scratch/an empty directory"
mkdir "$place"
installed >"$scratch/before"
[ -s "$scratch/before" ] || fail "no installed file found in $site"
chmod -R a-w "$site" # root may write all the same: hence the checksums
PATH="$scratch/clean/bin:$PATH"
# in_place ARG...: the console script there; its stdout is kept.
in_place() {
    (cd "$place" && gru4rec "$@") >"$scratch/out" 2>"$scratch/log" && return
    cat "$scratch/log" >&2
    fail "gru4rec $* failed"
}
in_place --version
shown=$(cat "$scratch/out")
where=$(cd "$place" && python -c 'import gru4rec; print(gru4rec.__file__)')
case $where in "$site"/*) ;; *) fail "gru4rec was imported from $where, not from the wheel" ;; esac
in_place train --epoch 1 --device cpu
in_place evaluate --device cpu
metrics=$(grep '^Recall@20: 0\.[0-9]' "$scratch/out") || fail "gru4rec evaluate printed no Recall@20"
item=$("$scratch/clean/bin/python" -c '
import gru4rec, sys
print(gru4rec.load(sys.argv[1]).ids[0])' "$place/checkpoint") || fail "gru4rec.load failed"
in_place recommend --items "$item" -k 3
[ "$(grep -c . "$scratch/out")" = 3 ] || fail "gru4rec recommend -k 3 printed no three items"
installed >"$scratch/after"
diff "$scratch/before" "$scratch/after" >&2 || fail "running it changed installed files"
how="with a TensorFlow that was there"
[ -n "$lender" ] || how="installed with [cpu]"
printf '%s: wheel of %s KiB, sdist of %s KiB, %s; after one epoch %s\n' "$shown" "$(($(wc -c <"$wheel") / 1024))" \
    "$(($(wc -c <"$sdist") / 1024))" "$how" "$metrics"
