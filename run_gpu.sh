#!/bin/sh
# Train with --preset fast, then evaluate, on the GPU if there is one, else on the CPU:
#   sh run_gpu.sh [flags of python -m gru4rec.main]
# Flags that are given win, another --preset too (--preset original: for parity, three epochs).
# PYTHON picks the Python. If none has TensorFlow, .venv is made with the CPU build.
# Logs: output/*_gpu.log.
set -u
me=run_gpu.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@"; then
    sed -n '2,6s/^# //p' "$root/$me"
    exit 0
fi

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
need_tensorflow

# `auto` tries an NPU first. So where an NPU adapter is installed, this script itself decides.
device=auto
if can_import "$python" npu_bridge >/dev/null || can_import "$python" npu_device >/dev/null; then
    device=cpu
    for node in /dev/nvidia[0-9]*; do
        [ ! -e "$node" ] || device=gpu
    done
    [ "$device" = gpu ] || names_device "$@" ||
        say "no GPU (/dev/nvidia*); using the CPU, not the NPU"
fi

flag=--preset
! resumes "$@" || flag='' # a resumed run keeps its own flags
train_and_evaluate gpu "$device" "$flag" fast "$@"
