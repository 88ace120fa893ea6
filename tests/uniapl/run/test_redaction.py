"""Redaction of secrets in the trainer's output and reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from uniapl.errors import TeacherError
from uniapl.run.credentials import parse_secrets
from uniapl.run.redaction import Redactor
from uniapl.run.reporter import Reporter

pytestmark = pytest.mark.unit

SECRET = 'sk-\\"/+0123456789'


def test_a_secret_is_redacted_in_every_form() -> None:
    redactor = Redactor([SECRET, "other-secret"])
    forms = [SECRET, json.dumps(SECRET), repr(SECRET), repr(SECRET.encode()), "sk-%5C%22%2F%2B0123456789"]
    for form in forms:
        assert "0123456789" not in redactor.text(f"before {form} after"), form
    assert redactor.text(f"a {SECRET} b other-secret c") == "a [secret] b [secret] c"
    assert Redactor(["short-key", "short-key-that-goes-on"]).text("short-key-that-goes-on") == "[secret]"


def test_without_secrets_nothing_changes() -> None:
    for redactor in (Redactor(), Redactor([""])):
        assert redactor.text("a text") == "a text"
        assert redactor.json({"a": [1, 2.5, None, "b"]}) == {"a": [1, 2.5, None, "b"]}


def test_every_text_of_a_report_is_redacted_and_its_numbers_are_not(tmp_path: Path) -> None:
    path = tmp_path / "reports.jsonl"
    with Reporter(path, Redactor(["12345678"])) as reporter:
        reporter.metrics(1, {"loss": 12345678.0})
        reporter.event("it said 12345678", rows=["12345678", {"deep": "a 12345678"}], count=12345678)
        reporter.sample(1, row="r", prompt="p", completion="12345678", reference="12345678", reward=1.0, score=None)
        reporter.error(TeacherError("no: 12345678", hint="12345678", param="teacher"))
    metrics, event, sample, error = (json.loads(line) for line in path.read_text().splitlines())
    assert metrics["values"] == {"loss": 12345678.0}
    assert event["message"] == "it said [secret]"
    assert event["data"] == {"rows": ["[secret]", {"deep": "a [secret]"}], "count": 12345678}
    assert (sample["completion"], sample["reference"]) == ("[secret]", "[secret]")
    assert (error["message"], error["hint"]) == ("no: [secret]", "[secret]")


PROGRAM = """
import logging, sys, warnings
from uniapl.run.redaction import Redactor
secret = sys.stdin.read()
Redactor([secret]).guard_outputs()
print("printed", secret, end="")
print(f"printed {secret}", file=sys.stderr)
logging.basicConfig(level=logging.DEBUG)
logging.error("logged %s", secret)
warnings.warn("warned " + secret)
sys.stderr.write(f"é {secret}\\n")
class Odd(Exception):
    pass
raise Odd(f"raised {secret}") from ValueError(secret)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.integration
def test_nothing_that_a_process_prints_shows_it(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, input=SECRET, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "0123456789" not in done.stdout + done.stderr
    assert done.stdout == "printed [secret]"
    for told in ("printed [secret]", "ERROR:root:logged [secret]", "warned [secret]", "é [secret]", "raised [secret]"):
        assert told in done.stderr


def test_incomplete_secrets_are_an_error() -> None:
    assert parse_secrets('{"a": "b"}') == {"a": "b"}
    with pytest.raises(ValueError, match="Unterminated"):
        parse_secrets('{"a": "b')
