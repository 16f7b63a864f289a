#!/bin/sh
# Run the test suite under settings that stand in for machines one does not have:
#   sh scripts/test_machines.sh [--list] [--results FILE] [ROW ...] [-- pytest arguments]
# ROW: a setting or a version of --list, several joined by + (one run), or a plan: settings,
# versions, pairwise, short. Without a ROW it is the plan pairwise. What this machine cannot do is
# left out with its reason. PYTHON picks the Python of rows without a version. Each run adds a line
# of JSON to FILE (default: docs/results/machines.jsonl, of which `python scripts/machines.py table`
# then makes the table of docs/evidence/machines.md). Status: 1 if a test failed in any run.
set -u
me=scripts/test_machines.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

settings='sse4_2 avx2 avx512 onednn-sse41 onednn-avx2 onednn-0 onednn-1 haswell skylakex zen
one-core user locale-c locale-utf8 timezone path umask no-home'
versions='py3.7 py3.9-tf2.6 py3.9 py3.10 py3.11-tf2.15 py3.11 py3.12 py3.13'
# One run of the whole suite for each version, and each setting in one of them at least.
pairwise='py3.7+haswell+one-core+locale-utf8
py3.9-tf2.6+zen+onednn-0+user+locale-c
py3.9+sse4_2+onednn-sse41+umask
py3.10+avx2+skylakex+timezone+onednn-1
py3.11-tf2.15+path+locale-c+onednn-0
py3.11+avx512+user+no-home
py3.12+avx512+onednn-avx2+locale-utf8+haswell
py3.13+sse4_2+onednn-sse41+zen+user+timezone+path'
# What CI has time for, with -m machine.
short='sse4_2+onednn-sse41+haswell+locale-c+timezone+umask+path+user'

about() {
    case $1 in
        sse4_2 | avx2 | avx512) echo "XLA_FLAGS=--xla_cpu_max_isa=$(upper "$1")" ;;
        onednn-sse41 | onednn-avx2) echo "ONEDNN_MAX_CPU_ISA=$(upper "${1#onednn-}")" ;;
        onednn-[01]) echo "TF_ENABLE_ONEDNN_OPTS=${1#onednn-}" ;;
        haswell) echo "OPENBLAS_CORETYPE=Haswell" ;;
        skylakex) echo "OPENBLAS_CORETYPE=SkylakeX" ;;
        zen) echo "OPENBLAS_CORETYPE=Zen" ;;
        one-core) echo "taskset -c CORE" ;;
        user) echo "as nobody, in a copy of the checkout (where root runs it)" ;;
        locale-c) echo "LC_ALL=C" ;;
        locale-utf8) echo "LC_ALL=C.UTF-8" ;;
        timezone) echo "TZ=America/St_Johns" ;;
        path)
            echo "a copy of the checkout and TMPDIR at a path with spaces and letters" \
                "beyond ASCII" ;;
        umask) echo "umask 077" ;;
        no-home) echo "HOME unset" ;;
        py*-tf*) echo "Python ${1%-tf*}, requirements/tf-${1#*-tf}.txt" | sed 's/py//' ;;
        py*) echo "Python ${1#py}, TensorFlow as pip picks it" ;;
        *) return 1 ;;
    esac
}

upper() { printf '%s' "$1" | tr '[:lower:]' '[:upper:]'; }

list() {
    for name in $settings $versions; do
        printf '%-14s %s\n' "$name" "$(about "$name")"
    done
    for plan in pairwise short; do
        eval "rows=\$$plan"
        for name in $rows; do
            printf '%-14s %s\n' "$plan" "$name"
        done
    done
}

# has_flag FLAG: true if the processor has it, or does not say.
has_flag() {
    [ ! -r /proc/cpuinfo ] || ! grep -qE '^(flags|Features)' /proc/cpuinfo ||
        grep -qw "$1" /proc/cpuinfo
}

# find_version X.Y: prints a Python of that version, on PATH or known to pyenv.
find_version() {
    for candidate in "python$1" "$(pyenv prefix "$1" 2>/dev/null)/bin/python"; do
        if [ "$("$candidate" -c "$its_version" 2>/dev/null)" = "$1" ]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# set_version NAME: sets `python` to that of the environment .venv-test-*, made if need be; or sets
# `reason`.
set_version() {
    number=${1#py} pins='' extras=cpu,test
    case $number in *-tf*)
        pins=requirements/tf-${number#*-tf}.txt
        [ -f "$root/$pins" ] || fail "there is no $pins for $1"
        extras=$(sed -n 's/^# extras: *//p' "$root/$pins")
        extras=${extras:-cpu,test} ;;
    esac
    venv=$root/.venv-test-$number
    if [ ! -x "$venv/bin/python" ] || [ -e "$venv/.unfinished" ]; then
        if ! found=$(find_version "${number%-tf*}"); then
            reason="no Python ${number%-tf*} here"
        elif ! (PYTHON=$found && make_venv "$venv" "$extras" ${pins:+"$pins"}); then
            reason="its environment cannot be made"
        fi
    fi
    python=$venv/bin/python
}

# apply NAME: the setting becomes part of the environment and variables of this shell, or `reason`
# says why not.
apply() {
    reason=''
    case $1 in
        sse4_2 | avx2 | avx512)
            flag=$1
            [ "$1" != avx512 ] || flag=avx512f
            if ! has_flag "$flag"; then
                reason="this processor has no $flag"
            elif ! XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_cpu_max_isa=$(upper "$1")" \
                "$python" -c "$compiles" </dev/null >/dev/null 2>&1; then
                reason="this TensorFlow has no --xla_cpu_max_isa"
            else
                export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_cpu_max_isa=$(upper "$1")"
            fi ;;
        onednn-sse41) export ONEDNN_MAX_CPU_ISA=SSE41 ;;
        onednn-avx2) export ONEDNN_MAX_CPU_ISA=AVX2 ;;
        onednn-[01]) export TF_ENABLE_ONEDNN_OPTS="${1#onednn-}" ;;
        haswell | zen)
            if has_flag avx2; then
                [ "$1" = zen ] && export OPENBLAS_CORETYPE=Zen || export OPENBLAS_CORETYPE=Haswell
            else
                reason="this processor has no avx2"
            fi ;;
        skylakex)
            if has_flag avx512f; then
                export OPENBLAS_CORETYPE=SkylakeX
            else
                reason="this processor has no avx512f"
            fi ;;
        one-core)
            core=$(taskset -cp $$ 2>/dev/null | sed 's/.*: *//; s/[-,].*//')
            [ -n "$core" ] || reason="no taskset here" ;;
        user)
            if [ "$(id -u)" != 0 ]; then
                reason="this user is none who could become another"
            elif ! command -v setpriv >/dev/null || ! id nobody >/dev/null 2>&1; then
                reason="no setpriv or no user nobody here"
            elif ! other_runs "$python" &&
                ! unshare -m mount -t tmpfs tmpfs /mnt 2>/dev/null; then
                reason="nobody may not enter the directory of $python, and mounts are not allowed"
            else
                other=nobody
            fi ;;
        locale-c) export LC_ALL=C ;;
        locale-utf8)
            if locale -a 2>/dev/null | grep -qix 'c\.utf-\{0,1\}8'; then
                export LC_ALL=C.UTF-8
            else
                reason="no locale C.UTF-8 here"
            fi ;;
        timezone) export TZ=America/St_Johns ;;
        path) odd=1 ;;
        umask) mask=077 ;;
        no-home) unset HOME ;;
    esac
}

its_version='import sys; print("%d.%d" % sys.version_info[:2])'
compiles='
import tensorflow as tf
tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(1.0))
'

# kind NAME: settings of one kind exclude each other.
kind() {
    case $1 in
        sse4_2 | avx2 | avx512) echo isa ;;
        onednn-sse41 | onednn-avx2) echo onednn ;;
        onednn-[01]) echo opts ;;
        haswell | skylakex | zen) echo blas ;;
        locale-*) echo locale ;;
        py*) echo version ;;
        *) echo "$1" ;;
    esac
}

# check ROW: fails if a name is unknown or two of a kind are there.
check() {
    kinds=' '
    for name in $(printf '%s' "$1" | tr + ' '); do
        case $name in
            py[0-9]*) ;;
            *) about "$name" >/dev/null || fail "there is no row $name; sh $me --list names all" ;;
        esac
        case $kinds in
            *" $(kind "$name") "*) fail "$1: two settings of one kind exclude each other" ;;
        esac
        kinds="$kinds$(kind "$name") "
    done
}

as_other() { setpriv --reuid "$(id -u nobody)" --regid "$(id -g nobody)" --clear-groups "$@"; }

# other_runs PYTHON: true if the other user may start it. A shell of theirs is asked: what setpriv
# itself starts may still be found through a directory that is shut to them.
other_runs() { as_other sh -c '"$1" -c ""' sh "$1" 2>/dev/null; }

# copy_checkout DIRECTORY: the files that git knows or would add; without git, all but environments.
copy_checkout() {
    mkdir -p "$1"
    if git -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
        git -C "$root" ls-files -z --cached --others --exclude-standard
    else
        (cd "$root" && find . \( -name '.venv*' -o -name .git \) -prune -o -type f -print0)
    fi | (cd "$root" && tar --null --ignore-failed-read -T - -cf - 2>/dev/null) | tar -xf - -C "$1"
}

# hidden_by PATH: prints the uppermost directory on the way to PATH that the other user may not
# enter, or nothing.
hidden_by() (
    entered='' IFS=/
    set -f
    for part in ${1#/}; do
        entered=$entered/$part
        if ! as_other test -x "$entered"; then
            printf '%s' "$entered"
            return
        fi
    done
)

# show SCRATCH PATH...: within a mount namespace of its own, makes these paths visible to the other
# user though a directory above them is shut (a Python in the home of root): an empty directory
# takes the place of that, and the paths go back into it.
show() {
    seen=$1/seen
    shift
    for path; do
        shut=$(hidden_by "$path")
        [ -n "$shut" ] || continue
        mkdir -p "$seen$path" && mount --bind "$path" "$seen$path" || return
        if [ ! -e "$shut/.emptied" ]; then
            mount -t tmpfs -o mode=755 tmpfs "$shut" && : >"$shut/.emptied" || return
        fi
        mkdir -p "$path" && mount --bind "$seen$path" "$path" || return
    done
}

# run_row ROW ARG...: one run. Status 1 if pytest's is not 0; 4 if it was left out.
run_row() (
    row=$1
    shift
    core='' other='' odd='' mask='' reason='' done_with='' python=${PYTHON:-}
    for name in $(printf '%s' "$row" | tr + ' '); do # the version first: others ask its TensorFlow
        case $name in py*)
            set_version "$name"
            [ -z "$reason" ] || { say "SKIPPED $row: $reason"; exit 4; }
            done_with=$name ;;
        esac
    done
    # As scripts/test.sh does: a Python without TensorFlow has an environment of ours beside it.
    if [ -z "$done_with" ] && ! can_import "$python" tensorflow numpy pytest xdist >/dev/null; then
        find_base
        python=$root/.venv-test-$("$base" -c "$its_version")/bin/python
        can_import "$python" tensorflow numpy pytest xdist >/dev/null || python=$base
    fi
    can_import "$python" tensorflow numpy pytest xdist >/dev/null ||
        fail "$python has no TensorFlow or no pytest; run sh scripts/test.sh once," \
            "or name a version"
    case $python in /*) ;; *) python=$(command -v "$python") ;; esac
    for name in $(printf '%s' "$row" | tr + ' '); do
        case $name in py*) continue ;; esac
        apply "$name"
        if [ -n "$reason" ]; then
            say "$row: without $name: $reason"
        else
            done_with=${done_with:+$done_with+}$name
        fi
    done
    [ -n "$done_with" ] || { say "SKIPPED $row: nothing of it can be had here"; exit 4; }
    what=$(for name in $(printf '%s' "$done_with" | tr + ' '); do about "$name"; done |
        sed '$!s/$/; /' | tr -d '\n')

    place=$root own=$python
    scratch=$(mktemp -d) || exit 2
    chmod 755 "$scratch"
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    out=$scratch/out
    [ -z "$odd" ] || out="$scratch/tmp é 森"
    mkdir "$out"
    if [ -n "$odd$other" ]; then
        real=${GRU4REC_REALDATA:-$root/../shared/data}
        [ ! -d "$real" ] || GRU4REC_REALDATA=$(cd -- "$real" && pwd -P)
        export GRU4REC_REALDATA="${GRU4REC_REALDATA:-}"
        place=$scratch/checkout
        [ -z "$odd" ] || place="$scratch/l'école à côté 森"
        copy_checkout "$place"
    fi
    if [ -n "$other" ]; then
        mkdir "$scratch/home"
        [ -z "${HOME+set}" ] || export HOME="$scratch/home"
        export USER="$other" LOGNAME="$other"
        chown -R "$other:" "$place" "$out" "$scratch/home"
    fi
    say "$done_with: $what"
    [ -z "$mask" ] || umask "$mask"
    export PYTHON="$python" TMPDIR="$out"
    set -- sh scripts/test.sh "$@" "--junitxml=$out/junit.xml"
    [ -z "$core" ] || set -- taskset -c "$core" "$@"
    if [ -n "$other" ] && other_runs "$python"; then
        set -- as_other "$@"
    elif [ -n "$other" ]; then
        set -- unshare -m sh "$root/$me" --as-other "$scratch" "$python" "$@"
    fi
    {
        (cd -- "$place" && "$@") </dev/null
        echo $? >"$scratch/status"
    } 2>&1 | tee "$scratch/log"
    unset XLA_FLAGS TMPDIR
    set -- "$own" "$root/scripts/machines.py" record "$results" --row "$done_with" \
        --settings "$what" --junit "$out/junit.xml" --log "$scratch/log" --tests "$arguments"
    [ -z "$core" ] || set -- taskset -c "$core" "$@"
    "$@" >&2 || exit 1
    # At once, for a test of the next run holds the page against the results.
    [ "$results" != "$known" ] || "$own" "$root/scripts/machines.py" table >&2 || exit 1
    [ "$(cat "$scratch/status")" = 0 ] || exit 1
)

if wants_help "$@"; then
    sed -n '2,8s/^# //p' "$root/$me"
    exit 0
fi
# For this script itself, in a mount namespace: SCRATCH PYTHON COMMAND...
if [ "${1:-}" = --as-other ]; then
    mask=$(umask)
    umask 022 # for the directories that are made here; that of the row is for the suite
    show "$2" "$("$3" -c 'import sys; print(sys.base_prefix)')" \
        "$("$3" -c 'import sys; print(sys.prefix)')" || fail "$3 cannot be shown to nobody"
    umask "$mask"
    shift 3
    as_other "$@"
    exit $?
fi
rows='' known=$root/docs/results/machines.jsonl results=$root/docs/results/machines.jsonl
while [ $# -gt 0 ]; do
    case $1 in
        --list) list; exit 0 ;;
        --results)
            [ $# -gt 1 ] || fail "--results needs a file"
            results=$2
            shift ;;
        --)
            shift
            break ;;
        -*) fail "unknown flag $1; arguments of pytest come after --" ;;
        settings | versions | pairwise | short) eval "rows=\"\$rows \$$1\"" ;;
        *) rows="$rows $1" ;;
    esac
    shift
done
case $results in /*) ;; *) results=$PWD/$results ;; esac
arguments=$(for argument; do printf '%s ' "$argument"; done)
rows=$(echo ${rows:-$pairwise})
for row in $rows; do
    check "$row"
done
failed='' recap=''
for row in $rows; do
    code=0
    run_row "$row" "$@" || code=$?
    case $code in
        0) recap="$recap$row: passed
" ;;
        4) recap="$recap$row: skipped
" ;;
        130 | 143 | 2) exit "$code" ;;
        *)
            failed=1 recap="$recap$row: FAILED
" ;;
    esac
done
printf '%s' "$recap" >&2
[ -z "$failed" ]
