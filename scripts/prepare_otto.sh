#!/bin/sh
# Prepare OTTO, the Kaggle competition of 2022:
#   sh scripts/prepare_otto.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw file otto-recsys-train.jsonl; the outputs go to data/otto unless --out names another place.
# otto-recsys-train.jsonl comes from Kaggle, "OTTO Recommender Systems Dataset", see
# https://github.com/otto-de/recsys-dataset
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_otto.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files otto otto-recsys-train.jsonl -- "$@"
