# Functions shared by run_gpu.sh, run_npu_1p.sh, run_npu_8p.sh and scripts/test.sh. POSIX sh.
# The caller sets `me` (its name, for messages) and `root` (the checkout, absolute).

say() { printf '%s: %s\n' "$me" "$*" >&2; }

fail() {
    say "$*"
    exit 2
}

# wants_help ARG...: true if -h or --help is among them.
wants_help() {
    for arg; do
        case $arg in -h | --help) return 0 ;; esac
    done
    return 1
}

# names_flag NAME ARG...: true if the user gave --NAME.
names_flag() {
    named=--$1
    shift
    for arg; do
        case $arg in "$named" | "$named="*) return 0 ;; esac
    done
    return 1
}

# names_device ARG...: true if the user chose --device.
names_device() { names_flag device "$@"; }

# set_env_file: prints the set_env.sh of the Ascend toolkit, or nothing. $ASCEND_SET_ENV names
# another one (empty: none).
set_env_file() {
    if [ -n "${ASCEND_SET_ENV+given}" ]; then
        printf '%s' "$ASCEND_SET_ENV"
        return
    fi
    for file in /usr/local/Ascend/cann/set_env.sh /usr/local/Ascend/ascend-toolkit/set_env.sh \
        "${HOME:-}/Ascend/cann/set_env.sh" "${HOME:-}/Ascend/ascend-toolkit/set_env.sh"; do
        if [ -f "$file" ]; then
            printf '%s' "$file"
            return
        fi
    done
}

# load_set_env ARG...: loads the toolkit's set_env.sh, which is written for bash. So a bash loads it
# and then becomes this script again; what it exports arrives as it is. The process id stays the
# same, by which this script knows that it is done. set_env.sh may fail, exit, read unset variables
# or change the directory.
load_set_env() {
    set_env=$(set_env_file)
    if [ -n "$set_env" ] && [ "${GRU4REC_SET_ENV_PID:-}" != "$$" ]; then
        [ -f "$set_env" ] ||
            fail "ASCEND_SET_ENV=$set_env is no file; name the toolkit's set_env.sh," \
                "or leave it empty"
        if command -v bash >/dev/null 2>&1; then
            export GRU4REC_SET_ENV_PID=$$
            exec bash -c '
                gru4rec_again=("$PWD" "$@")
                gru4rec_back() {
                    gru4rec_code=$?
                    trap - EXIT
                    set +eu
                    [ "$gru4rec_code" = 0 ] ||
                        echo "${gru4rec_again[2]##*/}: $1 ended with status $gru4rec_code;" \
                            "going on" >&2
                    cd -- "${gru4rec_again[0]}"
                    exec sh "${gru4rec_again[@]:2}"
                }
                trap "gru4rec_back \"\${gru4rec_again[1]}\"" EXIT
                set --
                source "${gru4rec_again[1]}" >&2
                gru4rec_back "${gru4rec_again[1]}"
            ' bash "$set_env" "$root/$me" "$@"
        fi
        say "WARNING: bash not found; $set_env is not loaded"
    fi
    unset GRU4REC_SET_ENV_PID
}

# add_plugin: puts the TensorFlow adapter of a toolkit and this checkout on PYTHONPATH.
add_plugin() {
    plugin=${TFPLUGIN_INSTALL_PATH:-/usr/local/Ascend/tfplugin/python/site-packages}
    [ ! -d "$plugin" ] || PYTHONPATH="$plugin${PYTHONPATH:+:$PYTHONPATH}"
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
}

# has_davinci: true if a device node of an Ascend NPU exists.
has_davinci() {
    for node in /dev/davinci*; do
        [ ! -e "$node" ] || return 0
    done
    return 1
}

# on_device_host: true where TensorFlow comes with the device image, so that we install none.
on_device_host() { has_davinci || [ -n "$(set_env_file)" ]; }

# What a Python can import, found without importing it. A plain directory of the same name is not a
# module. Prints the modules that are missing. Status: 0 none is missing, 4 some but not the first,
# else the first is missing.
probe='
import sys
if sys.version_info < (3, 7):
    sys.exit(3)
from importlib.util import find_spec
sys.path[:] = [entry for entry in sys.path if entry]
def absent(name):
    spec = find_spec(name)
    return spec is None or (spec.submodule_search_locations is not None and not spec.has_location)
missing = [name for name in sys.argv[1:] if absent(name)]
print(" ".join(missing))
sys.exit(0 if not missing else 3 if missing[0] == sys.argv[1] else 4)
'

# can_import PYTHON MODULE...: status of the probe; not 0 if the Python does not run (a dead pyenv
# shim).
can_import() {
    interpreter=$1
    shift
    "$interpreter" -c "$probe" "$@" </dev/null 2>/dev/null
}

# find_python MODULE...: sets `python` to the first Python that has all modules. Status 1 if none
# has; `lacking` then names one that has the first module, and what it lacks.
find_python() {
    python='' lacking=''
    for candidate in "${PYTHON:-}" python3 python "$root/.venv/bin/python" python3.7; do
        case $candidate in
            '') continue ;;
            "$root/.venv/"*) [ ! -e "$root/.venv/.unfinished" ] || continue ;;
        esac
        code=0
        missing=$(can_import "$candidate" "$@") || code=$?
        if [ "$code" = 0 ]; then
            python=$candidate
            return 0
        fi
        if [ "$code" = 4 ] && [ -z "$lacking" ]; then
            lacking="$candidate has $1 but lacks $missing"
        elif [ "$candidate" = "${PYTHON:-}" ]; then
            say "PYTHON=$candidate does not run or has no $1; looking further"
        fi
    done
    return 1
}

# find_base: sets `base` to the Python that makes a virtual environment: PYTHON if it is set, else
# the first that runs.
find_base() {
    for base in "${PYTHON:-python3}" "${PYTHON:-python}" "${PYTHON:-python3.7}"; do
        ! can_import "$base" sys venv >/dev/null || return 0
    done
    fail "no Python 3.7 or newer with the venv module runs here" \
        "(tried ${PYTHON:-python3, python, python3.7}); install one or set PYTHON"
}

# make_venv DIRECTORY EXTRAS [FILE]: an environment with this package and its extras; sets `python`.
# FILE: a requirements file of the checkout (requirements/) whose versions are installed.
# A file .unfinished lies in it until it is complete. One that an interrupted run of ours left is
# made anew; one that somebody else made is completed and never deleted.
make_venv() {
    venv=$1
    find_base
    made_by=ours
    if [ "$(cat "$venv/.unfinished" 2>/dev/null)" = ours ]; then
        rm -rf "$venv"
    elif [ -e "$venv" ]; then
        made_by=foreign
    fi
    { mkdir -p "$venv" && echo "$made_by" >"$venv/.unfinished"; } 2>/dev/null ||
        fail "cannot write $venv; set PYTHON to a Python that has TensorFlow"
    say "setting up $venv (once, a minute or two; log: $venv/setup.log)"
    python=$venv/bin/python
    if ! can_import "$python" pip >/dev/null &&
        ! PYTHONPATH='' "$base" -m venv "$venv" </dev/null >"$venv/setup.log" 2>&1; then
        fail "$base -m venv failed; install its venv package or set PYTHON (log: $venv/setup.log)"
    fi
    # The pip of an old Python 3.7 cannot install all of it; a newer pip stays as it is. pip tries
    # five times for each package, so that a machine without network would wait for minutes.
    if ! (export PYTHONPATH='' PIP_RETRIES="${PIP_RETRIES:-1}" && cd "$root" &&
        "$python" -m pip install "pip>=20.3" &&
        "$python" -m pip install ${3:+-r "$3"} -e ".[$2]") </dev/null >>"$venv/setup.log" 2>&1; then
        reason=$(sed -n 's/^ *ERROR: *//p' "$venv/setup.log" | tail -n 1)
        fail "cannot install .[$2] (no network, or no TensorFlow for this Python?):" \
            "${reason:-pip failed}; set PYTHON to a Python that has TensorFlow, or try again" \
            "(log: $venv/setup.log)"
    fi
    rm -f "$venv/.unfinished"
}

# need_tensorflow: sets `python` to one with TensorFlow, the checkout's own .venv if need be.
need_tensorflow() {
    ! find_python tensorflow numpy pandas || return 0
    if [ -n "$lacking" ]; then
        fail "$lacking; install that (${lacking%% *} -m pip install ${lacking##* lacks })" \
            "or set PYTHON"
    fi
    if on_device_host; then
        fail "no Python here has TensorFlow, and an NPU host needs the one of its device image;" \
            "set PYTHON to that"
    fi
    make_venv "$root/.venv" cpu
}

# run_logged LOG COMMAND...: shows both streams live, copies them to LOG (an earlier one becomes
# LOG.old) and returns the command's own status. Ctrl-C reaches the command, and this shell waits
# for it; the copiers end when it ends.
run_logged() {
    log=$1
    shift
    [ ! -s "$log" ] || mv -f "$log" "$log.old"
    (: >"$log" && : >"$log.status") 2>/dev/null ||
        fail "cannot write $log; set GRU4REC_OUTPUT to a directory for logs"
    trap : INT # not '': an ignored signal would stay ignored in the command
    {
        trap : INT
        {
            trap : INT
            "$@"
            echo $? >"$log.status"
        } 2>&1 >&3 3>&- | copy_to "$log" >&2 3>&-
    } 3>&1 | copy_to "$log"
    trap - INT
    status=$(cat "$log.status")
    rm -f "$log.status"
    return "${status:-1}"
}

# copy_to LOG: stdin to stdout and to the end of LOG. It ignores signals, for the command may still
# print after one.
copy_to() (
    trap '' INT TERM HUP
    exec tee -a "$1"
)

# resumes ARG...: true if the user asked for --resume 1.
resumes() {
    before=
    for arg; do
        case $before$arg in --resume=1 | "--resume 1") return 0 ;; esac
        before=
        [ "$arg" != --resume ] || before='--resume '
    done
    return 1
}

# train_and_evaluate NAME DEVICE FLAG VALUE ARG...: training with the flag, such as --epoch 10
# (empty: none), then the metrics of the newest checkpoint (with a validation, of the best). The
# user's flags come last, and argparse keeps the last.
train_and_evaluate() {
    name=$1 device=$2 flag=$3 value=$4
    shift 4
    output=${GRU4REC_OUTPUT:-output}
    mkdir -p "$output" 2>/dev/null ||
        fail "cannot make the directory $output; set GRU4REC_OUTPUT to one for logs"
    export PYTHONUNBUFFERED=1
    run_logged "$output/train_$name.log" "$python" -m gru4rec.main --train 1 \
        ${flag:+"$flag" "$value"} --device "$device" "$@" || exit $?
    run_logged "$output/eval_$name.log" "$python" -m gru4rec.main --train 0 --device "$device" "$@"
}
