"""`python -m tests.engine.short`: the tests of tier `engine_short` within limits of time, the form of CI.

The images are built first. A build that exceeds its limit, or fails where containers reach no package index, is no
fault of the project: the reason is printed, and the status is 0. Any other failed build or test makes the status 1.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engine.checkout import Checkout
from tests.engine.with_engine import EngineUnavailable, base_images, skipped

BUILD_S = 480
PROBE_S = 60
TESTS_S = 300
CLEANUP_S = 60
"""For the tests' containers, once the tests are interrupted."""
TESTS = [sys.executable, "-m", "pytest", "-m", "engine_short"]


def main() -> int:
    """Build the images and run the tests; returns the status."""
    with tempfile.TemporaryDirectory(prefix="uniapl-") as folder, Checkout(Path(folder)) as checkout:
        checkout.run("make secrets")
        try:
            build(checkout, BUILD_S)
        except EngineUnavailable as reason:
            print(skipped(reason))
            return 0
    return run_within(TESTS_S, TESTS)


def build(checkout: Checkout, limit_s: float) -> None:
    """Build the stack's images, so that the tests find them in the engine's cache.

    Raises:
        EngineUnavailable: the build exceeds the limit, or containers reach no package index.
        AssertionError: the build fails for another reason; the message contains its output.
    """
    built = checkout.finished(f"timeout {limit_s} docker compose build")
    if built.returncode == 124:
        raise EngineUnavailable(f"the build of the images exceeds {limit_s:g} s on this machine")
    if built.returncode != 0:
        require_package_index(checkout)
        raise AssertionError(f"the images cannot be built\n{built.stdout[-2000:]}\n{built.stderr[-6000:]}")


def require_package_index(checkout: Checkout) -> None:
    """Check that a build step can install packages by apt and pip.

    Raises:
        EngineUnavailable: it cannot; the last line of its output is the reason.
    """
    steps = f"FROM {base_images()[0]}\nRUN apt-get update && pip download --no-deps --dest /tmp packaging"
    probe = checkout.finished(f"echo '{steps}' | timeout {PROBE_S} docker build --no-cache --progress plain -")
    if probe.returncode != 0:
        last = (probe.stdout + probe.stderr).strip().rpartition("\n")[2]
        raise EngineUnavailable(f"a build step cannot install packages by apt and pip: {last}")


def run_within(limit_s: float, command: list[str]) -> int:
    """The status of a command; at the limit it is interrupted, as by Ctrl-C, so that it removes its containers."""
    process = subprocess.Popen(command)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        print(f"FAILED: the tests on the container engine exceed {limit_s:g} s", flush=True)
        process.send_signal(signal.SIGINT)
    try:
        process.wait(CLEANUP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return 1


if __name__ == "__main__":
    sys.exit(main())
