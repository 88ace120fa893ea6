"""`.env.example` holds every setting with its explanation and default, and every variable of the compose files."""

from __future__ import annotations

import importlib.util
import re

import pytest

from store.settings import Settings
from tests.conftest import ROOT

pytestmark = pytest.mark.unit

FILE = ROOT / ".env.example"
SECRET = re.compile("password|secret|token|key", re.IGNORECASE)


def asked_for() -> dict[str, str]:
    """Variables of the compose files, with the defaults they have there."""
    found = {}
    for file in [ROOT / "docker-compose.yml", *(ROOT / "docker").glob("*.yml")]:
        for name, default in re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", file.read_text()):
            assert found.setdefault(name, default) == default, f"{name} has two defaults"
    return found


def listed() -> dict[str, str]:
    """Names in the file with the values they are shown with."""
    pairs = re.findall(r"^# ([A-Z_]+)=(.*)$", FILE.read_text(), re.MULTILINE)
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_the_settings_are_as_their_class_has_them() -> None:
    spec = importlib.util.spec_from_file_location("env_example", ROOT / "docker" / "env_example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert FILE.read_text() == module.example(FILE.read_text()), "run `make env-example`"
    assert {f"UNIAPL_{name.upper()}" for name in Settings.model_fields} <= set(listed())


def test_every_setting_is_explained() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_every_variable_of_compose_is_listed_with_its_default() -> None:
    shown, names = listed(), asked_for()
    assert len(names) > 10
    for name, default in names.items():
        assert name in shown, name
        if not name.startswith("UNIAPL_"):
            assert shown[name] == default, name


def test_what_is_listed_is_known_to_somebody() -> None:
    known = set(asked_for()) | {f"UNIAPL_{name.upper()}" for name in Settings.model_fields}
    assert set(listed()) - known == {"COMPOSE_FILE", "COMPOSE_PROFILES", "OTEL_EXPORTER_OTLP_ENDPOINT"}


def test_nothing_is_switched_on_and_nothing_secret_has_a_value() -> None:
    lines = FILE.read_text().splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    for name, value in listed().items():
        if SECRET.search(name):
            assert value == "", name
