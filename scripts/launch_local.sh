#!/bin/sh
# Start N processes of gru4rec.main on this machine that train (or evaluate) together:
#   sh scripts/launch_local.sh N [--pin] [flags of python -m gru4rec.main]
# --pin gives each process a core of its own (Linux). Worker 0 prints; what the others print to
# stderr is shown with their names. PYTHON names the interpreter.
set -u
me=launch_local.sh
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 2
. "$root/scripts/lib.sh"

if wants_help "$@"; then
    sed -n '2,5s/^# //p' "$root/scripts/$me"
    exit 0
fi
need_tensorflow
exec "$python" "$root/scripts/launch_local.py" "$@"
