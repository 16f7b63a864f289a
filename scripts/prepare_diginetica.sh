#!/bin/sh
# Prepare Diginetica, the CIKM Cup 2016 Track 2:
#   sh scripts/prepare_diginetica.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw file train-item-views.csv; the outputs go to data/diginetica unless --out names another place.
# train-item-views.csv comes with the competition's data, after a registration:
# https://competitions.codalab.org/competitions/11161
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_diginetica.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files diginetica train-item-views.csv -- "$@"
