#!/bin/sh
# Prepare YooChoose, as the reproducibility study of 2023 prepares it: clicks and test file together:
#   sh scripts/prepare_yoochoose.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw files yoochoose-clicks.dat, yoochoose-test.dat; the outputs go to data/yoochoose unless --out names another place.
# yoochoose-clicks.dat and yoochoose-test.dat are in yoochoose-data.7z, which the challenge's page names:
# https://2015.recsyschallenge.com (or https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015). Unpack it by 7z.
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_yoochoose.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files yoochoose yoochoose-clicks.dat yoochoose-test.dat -- "$@"
