# Shared by scripts/prepare_<dataset>.sh. POSIX sh; the caller has sourced scripts/lib.sh.

# prepare_files DATASET FILE... -- DIRECTORY [FLAG...]: runs the preparation on the files of DIRECTORY, gzip or not.
prepare_files() {
    dataset=$1
    shift
    files=
    while [ "$1" != -- ]; do
        files="$files $1"
        shift
    done
    directory=$2
    shift 2
    [ -d "$directory" ] || fail "$directory is no directory; give the one that holds$files (see $me --help)"
    for file in $files; do # last to first argument: each is put before the flags
        if [ -f "$directory/$file" ]; then
            path=$directory/$file
        elif [ -f "$directory/$file.gz" ]; then
            path=$directory/$file.gz
        else
            fail "$directory holds no $file; where to get it: sh $me --help"
        fi
        set -- "$@" "$path"
    done
    find_python duckdb numpy pandas ||
        fail "no Python here has duckdb, numpy and pandas; pip install -e \".[prepare]\", or set PYTHON"
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
    exec "$python" -m gru4rec.prepare "$dataset" --out "data/$dataset" "$@"
}
