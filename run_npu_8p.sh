#!/bin/sh
# Train ten epochs on several Ascend NPUs of this machine, one process each, evaluate on the first:
#   sh run_npu_8p.sh [--data_path=DIR] [flags of python -m gru4rec.main]
# Without flags it trains as the original port does, for parity; --preset fast ranks better.
# RANK_SIZE is the number of devices (8); RANK_TABLE_FILE lists them (scripts/make_rank_table.py
# writes one). --lr is used as it is given, and --batch_size is that of each device.
# Logs: output/<device>/train_<device>.log. Other variables: as for run_npu_1p.sh.
set -u
me=run_npu_8p.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@"; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
load_set_env "$@"
add_plugin
need_tensorflow

size=${RANK_SIZE:-8}
[ -z "${CM_WORKER_SIZE:-}" ] ||
    fail "CM_WORKER_SIZE is set: a chief and a rank table must not mix; unset it"
[ -n "${RANK_TABLE_FILE:-}" ] ||
    fail "RANK_TABLE_FILE is not set; write one:" \
        "$python scripts/make_rank_table.py --out rank_table.json"
"$python" "$root/scripts/make_rank_table.py" --check "$RANK_TABLE_FILE" --size "$size" >&2 || exit 2

. "$root/scripts/port_flags.sh"
flag=--epoch
! names_flag preset "$@" || flag='' # a preset has its own number
[ -z "$data_path" ] || set -- --path_to_train="$data_path" --path_to_test="$data_path" "$@"
set -- --log_format=modelzoo "$@"

output=${GRU4REC_OUTPUT:-output}
export PYTHONUNBUFFERED=1 JOB_ID="${JOB_ID:-10087}" RANK_SIZE="$size" RANK_TABLE_FILE
started=$(date +%s)
pids='' logs='' rank=0
while [ "$rank" -lt "$size" ]; do
    log=$output/$rank/train_$rank.log
    mkdir -p "$output/$rank" 2>/dev/null ||
        fail "cannot make the directory $output/$rank; set GRU4REC_OUTPUT to one for logs"
    [ ! -s "$log" ] || mv -f "$log" "$log.old"
    RANK_ID=$rank ASCEND_DEVICE_ID=$rank "$python" -m gru4rec.main --train 1 ${flag:+"$flag" 10} \
        --device npu --npu_nums "$size" "$@" >"$log" 2>&1 </dev/null &
    pids="$pids $!" logs="$logs${logs:+,}$log" rank=$((rank + 1))
done
say "$size processes train; logs: $output/<device>/train_<device>.log"

# Background jobs of a script ignore Ctrl-C, so they get SIGTERM, which training obeys between two
# steps.
stop_all() {
    for pid in $pids; do
        kill -TERM "$pid" 2>/dev/null
    done
}
signalled=
trap 'signalled=130; stop_all' INT
trap 'signalled=143; stop_all' TERM

# If one process fails, the others would wait for it for ever; so they are stopped.
status=0 left=$pids
while [ -n "$left" ]; do
    running=
    for pid in $left; do
        if kill -0 "$pid" 2>/dev/null; then
            running="$running $pid"
            continue
        fi
        code=0
        wait "$pid" || code=$?
        if [ "$code" != 0 ] && [ "$status" = 0 ]; then
            status=$code
            say "a process ended with status $code; the others are stopped (see its log)"
            stop_all
        fi
    done
    left=$running
    [ -z "$left" ] || sleep 1
done
trap - INT TERM
[ -z "$signalled" ] || exit "$signalled"
[ "$status" = 0 ] || exit "$status"

"$python" "$root/scripts/modelzoo_summary.py" "$logs" "$(($(date +%s) - started))" "$@" || exit $?
export RANK_SIZE=1 RANK_ID=0 ASCEND_DEVICE_ID=0
unset RANK_TABLE_FILE
run_logged "$output/0/eval_0.log" "$python" -m gru4rec.main --train 0 --device npu "$@"
