#!/bin/sh
# Train ten epochs, then evaluate, on one Ascend NPU; without one on the GPU or CPU, and it says so:
#   sh run_npu_1p.sh [flags of python -m gru4rec.main]
# Without flags it trains as the original port does, for parity; --preset fast ranks better.
# ASCEND_DEVICE_ID picks the NPU (0), ASCEND_SET_ENV another set_env.sh (empty: none),
# TFPLUGIN_INSTALL_PATH the place of the TensorFlow adapter, PYTHON the Python.
# Logs: output/*_npu_1p.log. With --data_path=DIR, as in the older port's script, it reads
# DIR/rsc15_train_full.txt and DIR/rsc15_test.txt, logs to
# output/$ASCEND_DEVICE_ID/train_$ASCEND_DEVICE_ID.log and prints a summary.
set -u
me=run_npu_1p.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@"; then
    sed -n '2,9s/^# //p' "$root/$me"
    exit 0
fi

load_set_env "$@"

# One process on one device. Variables that are set already stay.
export JOB_ID="${JOB_ID:-10087}" ASCEND_DEVICE_ID="${ASCEND_DEVICE_ID:-0}"
# A chief (CM_WORKER_SIZE) and a rank table must not mix.
[ -n "${CM_WORKER_SIZE:-}" ] || export RANK_SIZE="${RANK_SIZE:-1}" RANK_ID="${RANK_ID:-0}"
add_plugin
need_tensorflow

# `--device auto` chooses the device and logs its reason; what this script can see is said before.
reason=
if ! can_import "$python" npu_bridge >/dev/null && ! can_import "$python" npu_device >/dev/null; then
    reason="$python has no TensorFlow adapter (npu_bridge or npu_device)"
elif ! has_davinci && [ -z "${GRU4REC_SKIP_DAVINCI_CHECK:-}" ]; then
    reason="there is no device node /dev/davinci*"
fi
[ -z "$reason" ] || names_device "$@" ||
    say "WARNING: *** NOT RUNNING ON AN NPU *** $reason; using the GPU or CPU"

. "$root/scripts/port_flags.sh"
flag=--epoch
! names_flag preset "$@" || flag='' # a preset has its own number
if [ -z "$data_path" ]; then
    train_and_evaluate npu_1p auto "$flag" 10 "$@"
    exit $?
fi
[ -d "$data_path" ] || fail "--data_path=$data_path is no directory; it must hold" \
    "rsc15_train_full.txt and rsc15_test.txt"
set -- --path_to_train="$data_path" --path_to_test="$data_path" --log_format=modelzoo "$@"
GRU4REC_OUTPUT=${GRU4REC_OUTPUT:-output}/$ASCEND_DEVICE_ID
started=$(date +%s)
train_and_evaluate "$ASCEND_DEVICE_ID" auto "$flag" 10 "$@" || exit $?
"$python" "$root/scripts/modelzoo_summary.py" "$output/train_$ASCEND_DEVICE_ID.log" \
    "$(($(date +%s) - started))" "$@"
