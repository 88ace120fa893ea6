"""The watchdog distinguishes a hung trainer from a slow one, and from a worker that was suspended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.settings import Settings
from uniapl.run.reporter import Reporter
from worker.watchdog import GLANCE_S, Watchdog

pytestmark = pytest.mark.unit

SETTINGS = Settings(hang_factor=10, hang_min_s=30, phase_limit_s=600)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A trainer's reports, and a watchdog that glances often."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "reports.jsonl"
        self.reporter = Reporter(self.path)
        self.clock = Clock()
        self.dog = Watchdog(self.path, SETTINGS, clock=self.clock)

    def wait(self, seconds: float) -> str | None:
        """The watchdog's final result."""
        wrong = None
        for _ in range(int(seconds / 0.5)):
            self.clock.now += 0.5
            wrong = self.dog.check()
        return wrong

    def steps(self, count: int, seconds: float) -> None:
        for step in range(count):
            assert self.wait(seconds) is None
            self.reporter.metrics(step + 1, {"loss": 1.0})
            self.dog.check()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    with watched.reporter:
        yield watched


def test_a_step_may_take_ten_times_the_usual_and_no_more(watched: Watched) -> None:
    watched.reporter.phase("training")
    watched.steps(8, 6)
    assert watched.dog.limit_s == pytest.approx(60, abs=6)
    assert watched.wait(54) is None
    said = watched.wait(20)
    assert said is not None
    assert "while training" in said
    watched.reporter.metrics(9, {"loss": 1.0})
    assert watched.dog.check() is None  # it moves again


def test_quick_steps_are_not_called_hung_before_the_least_limit(watched: Watched) -> None:
    watched.reporter.phase("training")
    watched.steps(8, 0.5)
    assert watched.dog.limit_s == 30
    assert watched.wait(29) is None
    assert watched.wait(3) is not None


@pytest.mark.parametrize("phase", ["asking_teacher", "loading_student", "evaluating", "saving"])
def test_other_phases_have_a_limit_of_their_own(watched: Watched, phase: str) -> None:
    watched.reporter.phase("training")
    watched.steps(8, 0.5)
    watched.reporter.phase(phase)  # type: ignore[arg-type]
    assert watched.wait(599) is None
    said = watched.wait(3)
    assert said is not None
    assert repr(phase) in said


def test_a_trainer_that_never_reports_is_found_out(watched: Watched) -> None:
    watched.path.unlink()
    assert watched.wait(599) is None
    said = watched.wait(3)
    assert said is not None
    assert "'starting'" in said


@pytest.mark.parametrize(
    "say",
    [
        lambda r: r.event("still here"),
        lambda r: r.sample(1, row="r", prompt="p", completion="c", reference=None, reward=None, score=None),
        lambda r: r.metrics(0, {"eval/reward": 1.0}),
    ],
)
def test_every_report_is_a_sign_of_life(watched: Watched, say: Callable[[Reporter], None]) -> None:
    watched.reporter.phase("evaluating")
    for _ in range(4):
        assert watched.wait(500) is None
        say(watched.reporter)


def test_a_worker_that_slept_does_not_blame_its_trainer(watched: Watched) -> None:
    watched.reporter.phase("training")
    watched.steps(8, 0.5)
    watched.clock.now += 10_000
    assert watched.dog.check() is None
    assert watched.wait(29 - GLANCE_S) is None


def test_half_a_line_is_no_report_and_a_very_long_one_is_read_past(watched: Watched) -> None:
    watched.reporter.phase("training")
    watched.steps(8, 0.5)
    with watched.path.open("ab") as file:
        file.write(b'{"kind":"metric","seq":99,')
        file.flush()
        assert watched.wait(32) is not None
        file.write(b'"ts":0,"step":9,"values":{}}\n')
        file.flush()
        assert watched.dog.check() is None
        file.write(b'{"kind":"sample","completion":"' + b"x" * (3 << 20) + b'"}\n')
        file.write(b'{"kind":"phase","seq":101,"ts":0,"phase":"saving"}\n')
    assert watched.dog.check() is None
    assert watched.wait(599) is None  # it has seen the phase that follows


def test_a_garbled_phase_changes_nothing(watched: Watched) -> None:
    watched.reporter.phase("training")
    watched.steps(8, 0.5)
    with watched.path.open("ab") as file:
        file.write(b'{"kind":"phase","phase":7}\n')
    watched.dog.check()
    assert watched.dog.limit_s == 30
