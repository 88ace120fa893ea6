"""Logging as a process of the service has it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration

PROGRAM = """
import logging, threading
from contextvars import copy_context
from store import logs
from store.settings import Settings

logs.configure(Settings())
ours, theirs = logging.getLogger("worker.lease"), logging.getLogger("somebody.else")
ours.info("outside")
with logs.about(job_id="job_1", attempt=2, fence=3):
    ours.info("inside %s", "it", extra={"duration_ms": 1.5})
    with logs.about(request_id="req_1"):
        ours.warning("deeper")
    thread = threading.Thread(target=copy_context().run, args=(ours.info, "in a thread"))
    thread.start()
    thread.join()
    theirs.info("not heard")
    theirs.warning("heard")
    ours.debug("not heard")
    try:
        1 / 0
    except ZeroDivisionError:
        ours.exception("failed")
ours.info("outside again")
"""


def said(**settings: str) -> str:
    environment = {f"UNIAPL_{name}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == ""
    return done.stderr


def test_json_lines_say_what_they_are_about() -> None:
    lines: dict[str, dict[str, Any]] = {
        line["message"]: line for line in map(json.loads, said(LOG_FORMAT="json").splitlines())
    }
    job = {"job_id": "job_1", "attempt": 2, "fence": 3}
    assert set(lines) == {"outside", "inside it", "deeper", "in a thread", "heard", "failed", "outside again"}
    for message in ("inside it", "deeper", "in a thread", "heard", "failed"):
        assert lines[message] | job == lines[message]
    assert "job_id" not in lines["outside"]
    assert "job_id" not in lines["outside again"]
    assert lines["deeper"]["request_id"] == "req_1"
    assert "request_id" not in lines["in a thread"]
    assert (lines["inside it"]["level"], lines["inside it"]["logger"]) == ("INFO", "worker.lease")
    assert lines["inside it"]["duration_ms"] == 1.5
    assert "ZeroDivisionError" in lines["failed"]["exc_info"]
    assert all("time" in line for line in lines.values())


def test_text_is_for_people_and_the_level_is_heeded() -> None:
    assert "INFO worker.lease: inside it\n" in said()
    quiet = said(LOG_LEVEL="WARNING")
    assert "deeper" in quiet
    assert "inside it" not in quiet


UNHANDLED = """
import threading, warnings
from store import logs
from store.settings import Settings

logs.configure(Settings())
warnings.warn("a warning")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise OSError("no way out")
"""


def test_warnings_and_unhandled_exceptions_are_json_lines_too() -> None:
    environment = {"UNIAPL_LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", UNHANDLED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    warning, in_thread, last = map(json.loads, done.stderr.splitlines())
    assert "UserWarning: a warning" in warning["message"]
    assert (in_thread["level"], last["level"]) == ("CRITICAL", "CRITICAL")
    assert in_thread["exc_info"].endswith("ZeroDivisionError: division by zero")
    assert last["exc_info"].endswith("OSError: no way out")
