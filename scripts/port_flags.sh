# Sourced by the run scripts for NPUs, whose arguments it turns from those of the older port's scripts into ours; sets
# `data_path`, the directory of --data_path=DIR or nothing. POSIX sh.
data_path='' dumps=''
for arg; do
    shift
    case $arg in
        --data_path=*) data_path=${arg#*=} && continue ;;
        --autotune=*) say "$arg is left out: newer releases tune with --npu_opt aoe_mode=" && continue ;;
        --over_dump=[Tt]rue) dumps="$dumps over_dump_path" ;;
        --data_dump_flag=[Tt]rue) dumps="$dumps data_dump_path" ;;
        --profiling=[Tt]rue) dumps="$dumps profiling_dump_path" ;;
    esac
    set -- "$@" "$arg"
done
for name in $dumps; do # as the older port's scripts, a place in the output; one that is given comes later and wins
    mkdir -p "${GRU4REC_OUTPUT:-output}/$name" && set -- "--$name=${GRU4REC_OUTPUT:-output}/$name" "$@"
done
