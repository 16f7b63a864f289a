#!/bin/sh
# Run the test suite:
#   sh scripts/test.sh [pytest arguments, relative to the checkout]
# PYTHON picks the Python. If it lacks TensorFlow or a test tool, .venv-test-<version> is made with
# both.
set -u
me=scripts/test.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@"; then
    sed -n '2,5s/^# //p' "$root/$me"
    exit 0
fi

find_base
version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
python=$base
set_of="tensorflow numpy pandas tqdm pytest xdist hypothesis pyarrow"
if ! missing=$(can_import "$base" $set_of); then
    venv=$root/.venv-test-$version
    if [ -e "$venv/.unfinished" ] || ! can_import "$venv/bin/python" $set_of >/dev/null; then
        if on_device_host; then
            fail "$base lacks $missing, and on an NPU host TensorFlow must be the one of the" \
                "device image; set PYTHON to the Python that has it, and install there what else" \
                "is missing"
        fi
        make_venv "$venv" cpu,test
    fi
    python=$venv/bin/python
fi

case $python in
    /*) ;;
    */*) python=$PWD/$python ;;
esac
cd -- "$root" || exit 2
# Three processes; each file of tests runs in one of them. One thread builds graphs, or waits for a
# process that a test has started.
exec "$python" -m pytest -n 3 --dist loadfile "$@"
