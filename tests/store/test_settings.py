"""Passwords that lie in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import Settings

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
