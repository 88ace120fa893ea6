"""Settings of the environment: passwords in files, values that cannot be used, variables that are no setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import InvalidSettings, Settings, read_settings, settings_or_exit, unknown_settings

pytestmark = pytest.mark.unit


def settings(**fields: object) -> Settings:
    return Settings.model_validate(fields)


def test_a_password_is_read_from_its_file_and_quoted(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a@b/c\n")
    found = settings(
        database_url="postgresql+psycopg://uniapl@db:5432/uniapl?connect_timeout=3",
        database_password_file=file,
        broker_url="redis://default@redis:6379/0",
        broker_password_file=file,
    )
    assert found.database == "postgresql+psycopg://uniapl:a%40b%2Fc@db:5432/uniapl?connect_timeout=3"
    assert found.broker == "redis://default:a%40b%2Fc@redis:6379/0"


def test_a_setting_that_a_release_has_removed_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's `.env` outlives releases: metric points were limited once."""
    monkeypatch.setenv("UNIAPL_METRIC_POINTS_PER_S", "2000")
    assert not hasattr(Settings(), "metric_points_per_s")


def test_without_files_the_urls_are_as_they_are_set(tmp_path: Path) -> None:
    found = settings(database_url="postgresql://u:p@db/x", broker_url="redis://:p@redis/1", data_dir=tmp_path)
    assert (found.database, found.broker) == ("postgresql://u:p@db/x", "redis://:p@redis/1")
    assert settings(data_dir=tmp_path).database == f"sqlite:///{tmp_path / 'uniapl.db'}"


@pytest.mark.parametrize("url", ["", "redis://redis:6379/0"])
def test_a_password_without_a_user_is_refused_with_the_remedy(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="UNIAPL_BROKER_URL: name the user"):
        _ = settings(broker_url=url, broker_password_file=tmp_path / "password").broker


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    file = tmp_path / "password"
    found = {"database_url": "postgresql://u@db/x", "database_password_file": file}
    with pytest.raises(ValueError, match=f"cannot read the secret file {file}"):
        _ = settings(**found).database
    file.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        _ = settings(**found).database


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("LEASE_S", "abc", "UNIAPL_LEASE_S: Input should be a valid number.*got 'abc'"),
        ("AUTH", "perhaps", "UNIAPL_AUTH: .*got 'perhaps'"),
        ("HUB_MODELS", "a/*", "UNIAPL_HUB_MODELS: not valid JSON; a list is written as in"),
        ("DATABASE_URL", "nowhere", "UNIAPL_DATABASE_URL or UNIAPL_BROKER_URL is no URL"),
        ("DATABASE_PASSWORD_FILE", "/nowhere", "UNIAPL_DATABASE_URL: name the user"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable(
    variable: str, value: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"UNIAPL_{variable}", value)
    with pytest.raises(InvalidSettings, match=problem):
        read_settings()
    with pytest.raises(SystemExit, match=f"error: (.|\n)*{problem}"):
        settings_or_exit()


def test_every_setting_at_fault_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIAPL_LEASE_S", "abc")
    monkeypatch.setenv("UNIAPL_SWEEP_S", "-")
    with pytest.raises(InvalidSettings, match=r"UNIAPL_LEASE_S(.|\n)*UNIAPL_SWEEP_S"):
        read_settings()


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("UNIAPL_LEASE", "rename it to UNIAPL_LEASE_S"),
        ("UNIAPL_DATA_DIRR", "rename it to UNIAPL_DATA_DIR"),
        ("uniapl_modelsfile", "rename it to UNIAPL_MODELS_FILE"),
        ("UNIAPL_COLOUR", "remove it"),
    ],
)
def test_a_variable_that_is_no_setting_is_reported(variable: str, advice: str) -> None:
    [found] = unknown_settings([variable, "UNIAPL_DATA_DIR", "uniapl_lease_s", "UNIAPL_URL", "UNIAPL_API_KEY", "PATH"])
    assert found.startswith(f"{variable} is not a setting and has no effect; {advice}")
