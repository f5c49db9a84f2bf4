# `make test`: everything that must hold, in the order in which it fails fastest. With CI=true nothing is skipped.
set -eu
cd "$(dirname "$0")/.."
COMMAND="make test"
. .ci/venv.sh
. .ci/rabbitmq.sh
use_venv requirements-dev.txt
ensure_rabbitmq

python=.venv/bin/python
packages="linklayer profiles shortlinks analytics webhooks tests"
# Inherited by every process of this run, so that one that is left behind can be told from all others.
export LINKLAYER_TEST_RUN="$$-$(date +%s)"

step() {
    printf '\n== %s\n' "$1"
    shift
    "$@"
}

left_behind() {
    for process in /proc/[0-9]*; do
        [ "${process#/proc/}" = "$$" ] && continue
        if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qx "LINKLAYER_TEST_RUN=$LINKLAYER_TEST_RUN"; then
            printf '%s %s\n' "${process#/proc/}" "$(tr '\0' ' ' <"$process/cmdline")"
        fi
    done 2>/dev/null
}

no_process_is_left() {
    left=$(left_behind)
    [ -z "$left" ] && return
    echo "The tests left processes behind:" >&2
    echo "$left" >&2
    return 1
}

step "ruff" $python -m ruff check .
step "ruff format" $python -m ruff format --check .
step "mypy" $python -m mypy $packages
step "import contracts" $python -c "from importlinter.cli import lint_imports_command as lint; lint()"
step "migrations" $python manage.py makemigrations --check --dry-run --settings tests.settings
step "pytest" $python -m pytest
step "no process is left behind" no_process_is_left
