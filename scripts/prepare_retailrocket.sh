#!/bin/sh
# Prepare Retailrocket:
#   sh scripts/prepare_retailrocket.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw file events.csv; the outputs go to data/retailrocket unless --out names another place.
# events.csv comes from Kaggle, "Retailrocket recommender system dataset" (an account is needed):
# https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_retailrocket.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files retailrocket events.csv -- "$@"
