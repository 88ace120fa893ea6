"""The short form of the tests on a container engine: its limits of time, with a small program in place of docker."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests.engine.checkout import Checkout
from tests.engine.short import build, run_within
from tests.engine.with_engine import EngineUnavailable

pytestmark = pytest.mark.integration

COMPOSE_BUILD, PLAIN_BUILD = '[ "$1 $2" = "compose build" ]', '[ "$1" = build ]'


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout, without an engine."""
    return Checkout(tmp_path_factory.mktemp("checkout"))


def use(checkout: Checkout, folder: Path, script: str) -> None:
    """Put a script in the place of docker."""
    docker = folder / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    checkout.environment["PATH"] = f"{folder}:{os.environ['PATH']}"


def test_a_build_that_exceeds_its_limit_is_stopped_and_is_no_fault(checkout: Checkout, tmp_path: Path) -> None:
    use(checkout, tmp_path, "exec sleep 60")
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match=r"the build of the images exceeds 0\.2 s"):
        build(checkout, 0.2)
    assert time.monotonic() - started < 10


def test_a_failed_build_without_a_package_index_is_no_fault(checkout: Checkout, tmp_path: Path) -> None:
    use(checkout, tmp_path, "echo no route to host; exit 1")
    with pytest.raises(EngineUnavailable, match=r"cannot install packages by apt and pip: no route to host$"):
        build(checkout, 10)


def test_any_other_failed_build_is_a_fault(checkout: Checkout, tmp_path: Path) -> None:
    use(
        checkout, tmp_path, f"{COMPOSE_BUILD} && {{ echo no such stage; exit 1; }}\n{PLAIN_BUILD} && grep -q '^RUN apt'"
    )
    with pytest.raises(AssertionError, match="the images cannot be built\nno such stage"):
        build(checkout, 10)


def test_a_build_that_succeeds_is_not_probed(checkout: Checkout, tmp_path: Path) -> None:
    use(checkout, tmp_path, COMPOSE_BUILD)
    build(checkout, 10)


TESTS = """
import sys, time
try:
    print("started", flush=True)
    time.sleep(60)
finally:
    print("cleaned up", flush=True)
"""


def test_tests_that_exceed_their_limit_are_interrupted_and_clean_up(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_within(2, [sys.executable, "-c", TESTS]) == 1
    assert re.match(r"started\nFAILED: the tests .* exceed 2 s\ncleaned up\n", capfd.readouterr().out)


def test_the_status_of_the_tests_counts() -> None:
    assert [run_within(10, ["sh", "-c", f"exit {status}"]) for status in (0, 3)] == [0, 3]
