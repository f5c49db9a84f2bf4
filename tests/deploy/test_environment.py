"""`.env.example` is the list of all settings: whole, true and safe."""

import re

from tests.deploy.environment import PACKAGES, ROOT, compose_variables, documented, readings

COMPOSE = (ROOT / "docker-compose.yml").read_text()
# gunicorn reads it itself where our configuration leaves it to the default.
READ_BY_SERVERS = {"WEB_CONCURRENCY"}


def test_every_variable_that_the_code_reads_is_documented() -> None:
    names = {variable.name for variable in documented()}
    missing = sorted(f"{reading.name} ({reading.place})" for reading in readings() if reading.name not in names)
    assert missing == []


def test_every_documented_variable_is_read() -> None:
    used = {reading.name for reading in readings()} | compose_variables(COMPOSE) | READ_BY_SERVERS
    assert sorted({variable.name for variable in documented()} - used) == []


def test_every_variable_is_documented_once_and_says_what_it_means() -> None:
    variables = documented()
    assert len({variable.name for variable in variables}) == len(variables)
    assert [variable.name for variable in variables if len(variable.meaning.split()) < 3] == []


def test_the_defaults_shown_are_the_defaults_of_the_code() -> None:
    shown = {variable.name: variable.value for variable in documented() if not variable.required and variable.value}
    defaults = {reading.name: reading.default for reading in readings() if reading.default not in {None, ""}}
    wrong = {
        name: (shown[name], default)
        for name, default in defaults.items()
        if name in shown and shown[name] != (str(default).lower() if isinstance(default, bool) else str(default))
    }
    assert wrong == {}


def test_a_plain_default_of_the_code_is_shown() -> None:
    hidden = {reading.name for reading in readings() if reading.default not in {None, ""}}
    assert sorted(hidden - {variable.name for variable in documented() if variable.value}) == []


def test_no_secret_has_a_value() -> None:
    secret = re.compile(r"SECRET(?!.*_SECONDS$)|PASSWORD|TOKEN|API_KEY")
    assert [variable.name for variable in documented() if secret.search(variable.name) and variable.value] == []


def test_what_compose_demands_is_what_the_example_leaves_open() -> None:
    demanded = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE))
    assert demanded == {variable.name for variable in documented() if variable.required}


def test_the_list_is_read_from_all_packages() -> None:
    assert {reading.place.split("/")[0] for reading in readings()} <= set(PACKAGES)
    assert {"SECRET_KEY", "DATABASE_URL", "SPOOL_DIR"} <= {reading.name for reading in readings()}
