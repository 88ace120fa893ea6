"""The teacher's API key: required where named, and absent from messages, logs and files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.uniapl.teachers.openai_server import KEY, Reply, Teacher, completion, fill, rows, spec
from uniapl.errors import SpecError, TeacherError

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_named_by_its_variable(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TEST_API_KEY")
    if value is not None:
        monkeypatch.setenv("TEST_API_KEY", value)
    with pytest.raises(SpecError, match="TEST_API_KEY is not set") as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert caught.value.param == "teacher.api_key_env"
    assert server.asked == []


def test_a_key_that_no_header_can_hold_is_not_shown(
    server: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_KEY", f"{KEY}\nX-Evil: 1")
    with pytest.raises(SpecError) as caught:
        fill(spec(server), tmp_path, rows("a"))
    assert caught.value.param == "teacher.api_key_env"
    assert KEY not in caught.value.message
    assert server.asked == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}),
        Reply(400, f"{'x' * 170}Bearer {KEY}".encode()),  # shortened in the middle of the key
        Reply(500, f"GET / Authorization: Bearer {KEY}".encode()),
        Reply(200, f"not JSON {KEY}".encode()),
        completion("", finish_reason=KEY),
        completion(f"My key is {KEY}."),
    ],
    ids=["401", "cut", "500", "malformed", "reason", "answer"],
)
def test_the_key_is_in_no_message_log_or_file(
    server: Teacher, tmp_path: Path, caplog: pytest.LogCaptureFixture, reply: Reply
) -> None:
    caplog.set_level(logging.DEBUG)
    server.reply = lambda question, _: reply if question == "b" else completion("yes")
    events: list[str] = []
    with pytest.raises(TeacherError) as caught:
        fill(spec(server, teacher={"max_retries": 1}), tmp_path, rows("a", "b"), events=events)
    error = caught.value
    files = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "yes" in files
    for text in (error.message, error.hint or "", repr(error), files, *events):
        assert KEY[:8] not in text
    assert KEY[:8] not in caplog.text


@pytest.mark.parametrize(
    "teacher",
    [
        {"base_url": "https://user:secret@host/v1"},
        {"base_url": "https://host/v1?key=secret"},
        {"base_url": "ftp://host/v1"},
        {"base_url": "https:///v1"},
        {"api_key_env": "UNIAPL_DATABASE_URL"},
        {"api_key_env": "AWS_SECRET_ACCESS_KEY"},
    ],
)
def test_a_spec_can_hold_no_secret_and_send_none_but_api_keys(server: Teacher, teacher: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="String should match pattern"):
        spec(server, teacher=teacher)


@pytest.mark.parametrize("address", ["http://host:port/v1", "http://xn--/v1"])
def test_what_is_no_address_is_refused(server: Teacher, tmp_path: Path, address: str) -> None:
    with pytest.raises(SpecError) as caught:
        fill(spec(server, teacher={"base_url": address}), tmp_path, rows("a"))
    assert caught.value.param == "teacher.base_url"
