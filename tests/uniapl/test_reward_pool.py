"""The processes that verify: in order, in time, and gone when they should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil
import pytest
import torch  # the parent has it: its children must not

from tests.conftest import ROOT
from uniapl.errors import RewardError
from uniapl.rewards.pool import Question, RewardPool, Verdict, check_failures
from uniapl.rewards.verify import reward_of
from uniapl.spec.reward import IfevalReward, LengthBandReward, MathReward, RegexReward, RewardOptions

SLOW = Question("a" * 60 + "!", RegexReward(pattern="^(a+)+$"), "slow")
"""2^60 ways to split the letters: it outlives everybody, and holds the interpreter all the time."""
EASY = Question("yes", RegexReward(pattern="yes"), "easy")
FAULTY = Question("3", MathReward(answer="$$"), "faulty")


def options(processes: int = 2, time_limit_s: float = 30.0) -> RewardOptions:
    return RewardOptions(processes=processes, time_limit_s=time_limit_s)


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "uniapl.rewards.worker" in p.cmdline() or p.status() == "zombie"]


def eventually(holds: Callable[[], bool], within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


def mixed() -> list[Question]:
    sea = "The sea is wide. " * 5
    spoken = IfevalReward(
        instruction_id_list=["language:response_language", "length_constraints:number_sentences"],
        kwargs=[{"language": "en"}, {"num_sentences": 4, "relation": "less than"}],
    )
    return [
        Question(f"It is {i}.", MathReward(answer=str(i % 3)), f"math-{i}")
        if i % 2
        else Question(sea, spoken, f"if-{i}")
        for i in range(12)
    ] + [Question("w " * i, LengthBandReward(at_least=7), f"length-{i}") for i in range(9)]


@pytest.mark.parametrize("processes", [1, 3])
def test_verdicts_come_in_order_and_equal_a_direct_call(processes: int) -> None:
    questions = mixed()
    direct = [Verdict(reward_of(q.answer, q.reward, options())) for q in questions]
    assert len({v.value for v in direct}) > 3
    with RewardPool(options(processes)) as pool:
        assert pool.verify(questions) == direct
        assert len(children()) == processes
        assert pool.verify(list(reversed(questions))) == list(reversed(direct))
        assert pool.verify([]) == []


def test_nothing_starts_before_it_is_needed_and_nothing_stays() -> None:
    with RewardPool(options(processes=4)) as pool:
        assert children() == []
        pool.verify([EASY])
        assert len(children()) == 1  # one question needs one process
    assert children() == []
    pool.close()  # twice does no harm


def test_an_answer_that_takes_too_long_fails_alone() -> None:
    with RewardPool(options(time_limit_s=5.0)) as pool:
        pool.verify([EASY, EASY])
        before = {p.pid for p in children()}
        started = time.monotonic()
        verdicts = pool.verify([EASY, SLOW, *[EASY] * 20, FAULTY])
        assert time.monotonic() - started < 60
        assert verdicts[1] == Verdict(None, "it took longer than reward.time_limit_s = 5")
        assert verdicts[-1].error is not None
        assert "'$$' is no mathematics" in verdicts[-1].error
        assert [v.value for v in verdicts] == [1.0, None, *[1.0] * 20, None]
        pool.verify([EASY, EASY])
        after = {p.pid for p in children()}
        assert len(after) == 2
        assert len(after & before) == 1  # the other was replaced


def test_getting_ready_does_not_count_as_time_spent_on_an_answer() -> None:
    # loading SymPy and NLTK takes a second or more, an answer some milliseconds
    def errors() -> list[str | None]:
        with RewardPool(options(processes=1, time_limit_s=0.5)) as pool:
            return [v.error for v in pool.verify(mixed()[:2])]

    assert any(errors() == [None, None] for _ in range(3))  # a machine may stall at an answer, hardly at each


def test_a_process_that_is_killed_at_its_question_fails_that_one() -> None:
    with RewardPool(options(processes=1)) as pool:
        pool.verify([EASY])
        [victim] = children()

        def kill() -> None:
            cpu = victim.cpu_times().user
            assert eventually(lambda: victim.cpu_times().user > cpu + 0.3)  # it is at it
            victim.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        verdicts = pool.verify([SLOW, EASY])
        killer.join()
    assert verdicts == [Verdict(None, "its process died with exit status -9"), Verdict(1.0)]


def test_a_process_that_was_killed_while_idle_costs_no_answer() -> None:
    with RewardPool(options(processes=1)) as pool:
        pool.verify([EASY])
        [victim] = children()
        victim.kill()
        assert eventually(lambda: victim.status() == "zombie")
        assert pool.verify([EASY] * 5) == [Verdict(1.0)] * 5


def test_an_interruption_leaves_no_answer_for_the_next_call() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with RewardPool(options(processes=1, time_limit_s=5.0)) as pool:
            pool.verify([EASY])
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(KeyboardInterrupt):
                pool.verify([SLOW])
            assert pool.verify([EASY]) == [Verdict(1.0)]  # and not the failure of the slow one
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_process_may_take_four_gibibytes_and_no_more() -> None:
    with RewardPool(options(processes=1)) as pool:
        pool.verify([EASY])
        assert children()[0].rlimit(psutil.RLIMIT_AS) == (4 * 2**30, 4 * 2**30)


def test_children_do_not_load_torch() -> None:
    assert torch.__name__ in sys.modules
    with RewardPool(options(processes=1)) as pool:
        pool.verify(mixed()[:2])
        maps = [m.path for m in children()[0].memory_maps()]
    assert any("python3" in path for path in maps)  # the list is of the right process
    assert not any("/torch/" in path for path in maps)


def test_the_rewards_can_be_imported_without_torch() -> None:
    code = "import sys, uniapl.rewards.pool, uniapl.rewards.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


ORPHANS = """
import sys
from uniapl.rewards.pool import Question, RewardPool
from uniapl.spec.reward import RegexReward, RewardOptions
easy = Question("a", RegexReward(pattern="a"), "easy")
slow = Question("a" * 60 + "!", RegexReward(pattern="^(a+)+$"), "slow")
pool = RewardPool(RewardOptions(processes=2, time_limit_s=600))
pool.verify([easy, easy])
print("ready", flush=True)
pool.verify([slow])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_their_parent_even_at_a_question(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANS], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        family = psutil.Process(parent.pid).children()
        assert len(family) == 2
        assert eventually(lambda: max(p.cpu_percent(interval=0.1) for p in family) > 10)  # one is at the slow one
        parent.send_signal(how)
        parent.wait()
    assert eventually(lambda: not any(p.is_running() and p.status() != "zombie" for p in family), within_s=10)


def test_a_signal_to_the_whole_group_leaves_the_children_to_the_parent() -> None:
    with RewardPool(options(processes=1)) as pool:
        pool.verify([EASY])
        [child] = children()
        for kind in (signal.SIGINT, signal.SIGTERM):
            os.kill(child.pid, kind)
        assert pool.verify([EASY]) == [Verdict(1.0)]
        assert children() == [child]


def test_an_installation_that_lacks_a_verifier_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with RewardPool(options()) as pool, pytest.raises(RewardError, match=r"did not start \(exit status 1\)") as caught:
        pool.verify([EASY])
    assert caught.value.hint is not None
    assert children() == []


def test_more_failures_than_allowed_stop_the_job_and_name_a_row() -> None:
    questions = [FAULTY, *[EASY] * 9]
    verdicts = [Verdict(None, "ValueError: no"), *[Verdict(1.0)] * 9]
    check_failures(verdicts, questions, RewardOptions(max_failed_fraction=0.1))  # 1 of 10 may
    check_failures([], [], RewardOptions(max_failed_fraction=0))
    with pytest.raises(RewardError, match=r"row faulty: its math reward failed: ValueError: no \(1 of 10") as caught:
        check_failures(verdicts, questions, RewardOptions(max_failed_fraction=0.09))
    assert caught.value.param == "reward.max_failed_fraction"
    assert caught.value.hint is not None
    assert "reward.time_limit_s" in caught.value.hint
    with pytest.raises(RewardError):
        check_failures(verdicts[:1], questions[:1], RewardOptions(max_failed_fraction=0.5))
