#!/bin/sh
# Prepare RSC15, the RecSys Challenge 2015 (YooChoose) clicks, as the first GRU4Rec paper prepares them:
#   sh scripts/prepare_rsc15.sh DIRECTORY [flags of python -m gru4rec.prepare]
# DIRECTORY holds the raw file yoochoose-clicks.dat; the outputs go to data/rsc15 unless --out names another place.
# The raw file yoochoose-clicks.dat is in yoochoose-data.7z, which the challenge's page names:
# https://2015.recsyschallenge.com (or https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015). Unpack it by 7z.
# PYTHON picks the Python; it needs DuckDB: pip install -e ".[prepare]".
set -u
me=scripts/prepare_rsc15.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@" || [ $# = 0 ]; then
    sed -n '2,7s/^# //p' "$root/$me"
    exit 0
fi
. "$root/scripts/prepare_lib.sh"
prepare_files rsc15 yoochoose-clicks.dat -- "$@"
