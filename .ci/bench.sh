# `make bench`: our speed beside our peers', side by side on this machine.
set -eu
cd "$(dirname "$0")/.."
COMMAND="make bench"
. .ci/venv.sh
use_venv requirements-dev.txt
exec .venv/bin/python -m tests.bench "$@"
