# Sourced by the run scripts for NPUs: turns arguments of the older port's scripts into ours. Sets
# `data_path` to the directory of --data_path=DIR, or to nothing. POSIX sh.
data_path='' dumps=''
for arg; do
    shift
    case $arg in
        --data_path=*) data_path=${arg#*=} && continue ;;
        --autotune=*)
            say "$arg is left out: newer releases tune with --npu_opt aoe_mode=" && continue ;;
        --over_dump=[Tt]rue) dumps="$dumps over_dump_path" ;;
        --data_dump_flag=[Tt]rue) dumps="$dumps data_dump_path" ;;
        --profiling=[Tt]rue) dumps="$dumps profiling_dump_path" ;;
    esac
    set -- "$@" "$arg"
done
# As in the older port's scripts, dumps go to a directory in the output. One that the user gives
# comes later on the command line and wins.
for name in $dumps; do
    directory=${GRU4REC_OUTPUT:-output}/$name
    mkdir -p "$directory" && set -- "--$name=$directory" "$@"
done
