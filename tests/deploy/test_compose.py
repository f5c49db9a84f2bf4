"""Every command, port, variable and health check of the deploy files means something in the code."""

import re
import runpy
import subprocess
import sys
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import pytest
from celery.app.utils import find_app
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from linklayer import queues
from tests.deploy import compose
from tests.deploy.compose import Service
from tests.deploy.environment import ROOT, compose_variables, documented, readings

SERVICES = compose.services()
OURS = compose.our_services()
MANAGED = [service for service in OURS if "manage.py" in service.command]
SERVING = [service for service in OURS if service.command[:1] == ("gunicorn",)]
CELERY = [service for service in OURS if service.command[:1] == ("celery",)]
WORKERS = [service for service in CELERY if "worker" in service.command]
PROBED_URLS = re.findall(r"https?://[^'\"\s]+", " ".join(" ".join(service.probe) for service in OURS))


def _names(found: list[Service]) -> list[str]:
    return [service.name for service in found]


def test_the_processes_of_the_design_are_there() -> None:
    ours = {"migrate", "web", "desk", "shipper", "clicks-worker", "work-worker", "beat", "dead-letters"}
    assert set(_names(OURS)) == ours
    assert set(SERVICES) - ours == {"postgres", "redis", "rabbitmq", "caddy"}
    assert len(MANAGED) + len(SERVING) + len(CELERY) == len(OURS)


@pytest.mark.parametrize("service", MANAGED, ids=_names(MANAGED))
def test_each_management_command_exists(service: Service) -> None:
    assert service.command[service.command.index("manage.py") + 1] in get_commands()
    assert (ROOT / "manage.py").exists()


@pytest.mark.parametrize("service", SERVING, ids=_names(SERVING))
def test_gunicorn_finds_each_application_worker_class_and_configuration(service: Service) -> None:
    command = [sys.executable, "-m", *service.command[:1], "--check-config", *service.command[1:]]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("service", CELERY, ids=_names(CELERY))
def test_each_celery_process_finds_its_application(service: Service) -> None:
    application = find_app(service.option("-A"))
    assert "worker" in service.command or application.conf.beat_schedule


def test_every_queue_has_exactly_one_kind_of_worker() -> None:
    consumed = [queue for service in WORKERS for queue in service.option("-Q").split(",")]
    assert sorted(consumed) == sorted(queues.TASK_QUEUES)
    assert set(queues.ROUTES.values()) <= set(consumed)


def test_every_variable_of_the_compose_file_is_documented() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert compose_variables(text) - {variable.name for variable in documented()} == set()


@pytest.mark.parametrize("service", OURS, ids=_names(OURS))
def test_every_variable_given_to_our_processes_is_read_by_the_code(service: Service) -> None:
    assert set(service.environment) - {reading.name for reading in readings()} == set()


def test_every_variable_of_the_image_is_read_by_the_code() -> None:
    pythons_own = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DJANGO_SETTINGS_MODULE"}
    assert set(compose.dockerfile_environment()) - pythons_own <= {reading.name for reading in readings()}


def test_secrets_are_demanded_and_never_written_down() -> None:
    for service in OURS:
        assert service.environment["SECRET_KEY"].startswith("${SECRET_KEY:?")
        for name in ("DATABASE_URL", "AMQP_URL"):
            assert re.search(r"//linklayer:\$\{[A-Z_]+:\?[^}]+\}@", service.environment[name])
    assert not re.search(r"^(ENV|ARG) .*(KEY|SECRET|PASSWORD|TOKEN)", compose.DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("url", PROBED_URLS)
def test_each_health_check_asks_an_existing_path_on_the_port_that_is_served(url: str) -> None:
    parts = urlsplit(url)
    resolve(parts.path)  # raises Resolver404
    assert str(parts.port) == SERVICES["web"].environment["PORT"]


def test_web_is_probed_for_life_and_desk_for_readiness() -> None:
    assert "/livez" in " ".join(SERVICES["web"].probe)
    assert "/readyz" in " ".join(SERVICES["desk"].probe)
    assert "/livez" in " ".join(compose.dockerfile_words("HEALTHCHECK"))


def test_every_service_that_stays_is_probed_or_says_that_it_is_not() -> None:
    for service in SERVICES.values():
        probe = service.settings["healthcheck"]
        assert service.probe or probe == {"disable": True}
    assert {name for name, service in SERVICES.items() if not service.probe} == {
        *("migrate", "shipper", "clicks-worker", "work-worker", "beat", "dead-letters")
    }


def test_the_ports_of_image_processes_and_proxy_agree() -> None:
    port = compose.dockerfile_environment()["PORT"]
    assert f"EXPOSE {port}" in compose.DOCKERFILE
    assert {service.environment["PORT"] for service in OURS} == {port}
    assert compose.caddy_upstreams() == {("web", int(port)), ("desk", int(port))}
    assert {mapping.rsplit(":", 1)[1] for mapping in SERVICES["caddy"].settings["ports"]} == {"80", "443"}


def test_the_image_starts_what_the_compose_file_calls_web() -> None:
    assert tuple(compose.dockerfile_words("CMD")) == SERVICES["web"].command


@pytest.mark.parametrize("matcher", ["desk", "inside"])
def test_every_path_that_the_proxy_knows_is_a_route(matcher: str) -> None:
    samples = {
        "/admin/*": "/admin/login/",
        "/api/links/*": "/api/links/abc",
        "/api/profiles/*/stats": "/api/profiles/a/stats",
    }
    unknown = []
    for pattern in compose.caddy_paths(matcher):
        if pattern in {"/admin", "/static/*"}:  # Django's slash and whitenoise answer these before the routes
            continue
        try:
            resolve(samples.get(pattern, pattern))
        except Resolver404:
            unknown.append(pattern)
    assert unknown == []


def test_only_the_proxy_is_believed_about_addresses() -> None:
    address = SERVICES["caddy"].settings["networks"]["front"]["ipv4_address"]
    pool = compose.COMPOSE["networks"]["front"]["ipam"]["config"][0]
    for service in OURS:
        assert [ip_network(network) for network in service.environment["TRUSTED_PROXIES"].split(",")] == [
            ip_network(address)
        ]
    assert ip_address(address) in ip_network(pool["subnet"])
    assert ip_address(address) not in ip_network(pool["ip_range"])


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service.settings] == ["caddy"]
    assert compose.COMPOSE["networks"]["back"]["internal"] is True
    for server in ("postgres", "redis", "rabbitmq"):
        assert SERVICES[server].settings["networks"] == ["back"]


def test_nothing_takes_traffic_or_work_before_the_migrations() -> None:
    assert SERVICES["migrate"].settings["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for service in OURS:
        if service.name != "migrate":
            assert service.settings["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_web_and_shipper_share_the_spool() -> None:
    for name in ("web", "desk", "shipper"):
        mount = f"spool:{SERVICES[name].environment['SPOOL_DIR']}"
        assert SERVICES[name].settings["volumes"] == [mount]
    assert "spool" in compose.COMPOSE["volumes"]
    assert compose.dockerfile_environment()["SPOOL_DIR"] == SERVICES["web"].environment["SPOOL_DIR"]


def test_what_processes_write_outside_their_volumes_is_memory_of_their_own_user() -> None:
    user = re.search(r"--uid (\d+) --gid linklayer", compose.DOCKERFILE)
    assert user
    for service in OURS:
        metrics = service.environment["PROMETHEUS_MULTIPROC_DIR"]
        assert f"{metrics}:uid={user[1]},gid={user[1]},mode=0700" in service.settings["tmpfs"]
        assert "/tmp" in service.settings["tmpfs"]


def test_the_cache_forgets_and_the_queue_remembers() -> None:
    redis = SERVICES["redis"]
    assert redis.option("--maxmemory-policy") == "allkeys-lru"
    assert redis.option("--appendonly") == "no"
    assert redis.option("--save") == ""
    assert SERVICES["rabbitmq"].settings["hostname"]  # the data folder is named after it
    assert SERVICES["rabbitmq"].settings["volumes"]


def test_containers_are_given_the_time_to_drain() -> None:
    configuration = runpy.run_path(str(ROOT / "linklayer/gunicorn_conf.py"))
    for service in SERVING:
        assert int(service.settings["stop_grace_period"].removesuffix("s")) > configuration["graceful_timeout"]


def test_every_service_has_bounds_and_comes_back() -> None:
    for service in SERVICES.values():
        assert service.settings["mem_limit"], service.name
        assert {"max-size", "max-file"} <= set(service.settings["logging"]["options"]), service.name
        assert service.settings["restart"] in {"unless-stopped", "on-failure:5"}, service.name


def test_our_processes_run_with_no_rights() -> None:
    assert re.search(r"^USER linklayer$", compose.DOCKERFILE, re.MULTILINE)
    for service in OURS:
        assert service.settings["read_only"] is True
        assert service.settings["cap_drop"] == ["ALL"]


def test_the_image_holds_the_whole_code_and_no_embedded_server() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(\S+)", compose.DOCKERFILE, re.MULTILINE))
    assert copied == {"requirements.txt", "manage.py", "linklayer", "webhooks", "analytics", "shortlinks", "profiles"}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == copied
    pinned = {line.split("==")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()}
    left_out = re.search(r"grep -v -E '\^\(([^)]+)\)=='", compose.DOCKERFILE)
    assert left_out
    assert set(left_out[1].split("|")) <= pinned
