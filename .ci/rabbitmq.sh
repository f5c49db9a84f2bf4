# Sourced by test.sh: `ensure_rabbitmq` installs Debian's RabbitMQ for the tests when it is missing and we may.
# Its service is kept from starting, and what forbids that is put back as it was.

policy=/usr/sbin/policy-rc.d

has_rabbitmq() {
    ls /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server >/dev/null 2>&1 || command -v rabbitmq-server >/dev/null 2>&1
}

restore_policy() {
    if [ -e "$policy.linklayer" ]; then
        mv "$policy.linklayer" "$policy"
    else
        rm -f "$policy"
    fi
}

install_rabbitmq() {
    [ -e "$policy" ] && mv "$policy" "$policy.linklayer"
    trap restore_policy EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    install="apt-get install -y --no-install-recommends rabbitmq-server"
    echo "Installing Debian's rabbitmq-server for the tests (its service is not started) ..."
    $install >"$log" 2>&1 || { apt-get update >>"$log" 2>&1 && $install >>"$log" 2>&1; } || tail -n 5 "$log" >&2
    rm -f "$log"
    restore_policy
    trap - EXIT INT TERM
}

ensure_rabbitmq() {
    has_rabbitmq && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        install_rabbitmq
    fi
    has_rabbitmq && return
    message="rabbitmq-server is missing: install RabbitMQ 3.10 or newer (Debian, Ubuntu: apt install rabbitmq-server)"
    [ "${CI:-}" != true ] || fail "$message"
    echo "$message; until then the tests that need it are skipped" >&2
}
