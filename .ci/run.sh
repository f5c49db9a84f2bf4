# `make run`: the virtual environment, then the launcher in place of this shell, so that signals reach it.
set -eu
cd "$(dirname "$0")/.."
COMMAND="make run"
. .ci/venv.sh
use_venv requirements.txt
exec .venv/bin/python -m linklayer.run
