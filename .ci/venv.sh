# Sourced by the other scripts: `use_venv requirements.txt` makes .venv hold exactly what the file pins, or ends the
# script with one line that says why not. Does nothing, quickly, when it holds that already.

python_minor_min=11
megabytes_needed=500

fail() {
    printf '%s: %s\n' "${COMMAND:-make}" "$1" >&2
    exit 1
}

is_new_enough() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c "import sys; sys.exit(sys.version_info < (3, $python_minor_min))" >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14 python; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

check_space() {
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$megabytes_needed" ] ||
        fail "the disk is full: $PWD has $free MB left, the virtual environment needs $megabytes_needed MB"
}

create_venv() {
    python=$(find_python) || fail "Python 3.$python_minor_min or newer is needed, and not found as python3 or python3.x"
    check_space
    rm -rf .venv
    echo "Creating .venv with $("$python" --version 2>&1) ..."
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        "$python" -m venv .venv || fail "$python cannot create a virtual environment"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # Debian's python3 without python3-venv: its pip can install into an environment that has none.
        "$python" -m venv --without-pip .venv || fail "$python cannot create a virtual environment"
        outer_python=$python
    else
        fail "$python lacks venv and pip: install them (Debian, Ubuntu: apt install python3-venv)"
    fi
}

pip_install() {
    if .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        .venv/bin/python -m pip install --disable-pip-version-check --no-input -r "$1"
    else
        "${outer_python:-$(find_python)}" -m pip --python .venv/bin/python install --disable-pip-version-check --no-input -r "$1"
    fi
}

use_venv() {
    unset PYTHONHOME PYTHONPATH
    stamp=".venv/installed-$1"
    .venv/bin/python -c '' >/dev/null 2>&1 || create_venv
    cat requirements.txt "$1" | cmp -s - "$stamp" && return
    check_space
    echo "Installing the packages of $1 into .venv ..."
    pip_install "$1" || fail "the packages of $1 could not be installed: see pip's message above"
    cat requirements.txt "$1" >"$stamp"
}
