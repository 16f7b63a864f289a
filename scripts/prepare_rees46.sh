#!/bin/sh
# Prepare REES46, October and November 2019:
#   sh scripts/prepare_rees46.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw files 2019-Oct.csv, 2019-Nov.csv; the outputs go to data/rees46 unless --out names another place.
# 2019-Oct.csv and 2019-Nov.csv come from Kaggle, "eCommerce behavior data from multi category store":
# https://www.kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-store
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_rees46.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files rees46 2019-Oct.csv 2019-Nov.csv -- "$@"
