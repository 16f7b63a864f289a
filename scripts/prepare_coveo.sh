#!/bin/sh
# Prepare Coveo, the clickstream released in 2020 for shopper intent prediction:
#   sh scripts/prepare_coveo.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw file release_10_23_2020.csv; the outputs go to data/coveo unless --out names another place.
# release_10_23_2020.csv comes from Coveo after agreeing to its terms: see
# https://github.com/coveooss/shopper-intent-prediction-nature-2020. The file browsing_train.csv of the SIGIR eCom 2021
# challenge has the same columns: python -m gru4rec.prepare coveo browsing_train.csv --out DIRECTORY.
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_coveo.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,8s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files coveo release_10_23_2020.csv -- "$@"
