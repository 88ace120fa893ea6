"""The processes that verify: in order, in time, and gone when they should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch  # the parent has it: its children must not

from tests.conftest import ROOT
from uniapl.errors import RewardError
from uniapl.rewards import worker
from uniapl.rewards.pool import Question, RewardPool, Verdict, check_failures
from uniapl.rewards.verify import reward_of
from uniapl.spec.reward import (
    ExactMatchReward,
    IfevalReward,
    JsonSchemaReward,
    LengthBandReward,
    MathReward,
    RegexReward,
    Reward,
    RewardOptions,
    RewardPart,
    WeightedSumReward,
)

pytestmark = pytest.mark.integration

SLOW = Question("a" * 60 + "!", RegexReward(pattern="^(a+)+$"), "slow")
"""2^60 ways to split the letters: it never terminates, and holds the interpreter throughout."""
EASY = Question("yes", RegexReward(pattern="yes"), "easy")
OTHER = Question("yes, yes", RegexReward(pattern="yes"), "other")
EASIES = [Question("yes" * n, RegexReward(pattern="yes"), "easy") for n in range(1, 21)]
FAULTY = Question("3", MathReward(answer="$$"), "faulty")
NESTED = JsonSchemaReward(json_schema={"type": "array", "items": {"$ref": "#"}})
SPOKEN = IfevalReward(
    instruction_id_list=["language:response_language", "length_constraints:number_sentences"],
    kwargs=[{"language": "en"}, {"num_sentences": 4, "relation": "less than"}],
)
LATE = Verdict(0.0, "verification exceeded reward.time_limit_s = 5", timed_out=True)


def options(processes: int = 2, time_limit_s: float = 30.0) -> RewardOptions:
    return RewardOptions(processes=processes, time_limit_s=time_limit_s)


def by_cpu(verdict: Verdict) -> Verdict:
    """The verdict as on an idle machine, where the CPU time ends before the wall-clock time."""
    error = (verdict.error or "").replace("took 10 times as long as", "exceeded")
    return Verdict(verdict.value, error, verdict.timed_out)


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
    return [
        Question(f"It is {i}.", MathReward(answer=str(i % 3)), f"math-{i}")
        if i % 2
        else Question(sea, SPOKEN, f"if-{i}")
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
        pool.verify([EASY, OTHER])
        before = {p.pid for p in children()}
        started = time.monotonic()
        verdicts = pool.verify([EASY, SLOW, *EASIES, FAULTY])
        assert time.monotonic() - started < 60
        assert by_cpu(verdicts[1]) == LATE
        assert verdicts[-1].error is not None
        assert "'$$' is not mathematics" in verdicts[-1].error
        assert [v.value for v in verdicts] == [1.0, 0.0, *[1.0] * 20, None]
        pool.verify([EASY, OTHER])
        after = {p.pid for p in children()}
        assert len(after) == 2
        assert len(after & before) == 1  # the other was replaced


def test_getting_ready_does_not_count_as_time_spent_on_an_answer() -> None:
    # loading SymPy and NLTK takes a second or more, an answer some milliseconds
    def errors() -> list[str | None]:
        with RewardPool(options(processes=1, time_limit_s=0.5)) as pool:
            return [v.error for v in pool.verify(mixed()[:2])]

    assert any(errors() == [None, None] for _ in range(3))  # a machine may stall at an answer, hardly at each


def test_a_step_of_which_a_quarter_hangs_is_judged_rightly() -> None:
    tower = Question("\\boxed{9^{9^{9^{9}}}}", MathReward(answer="72"), "row-1")  # never evaluated
    right, wrong = (Question(f"\\boxed{{{n}}}", MathReward(answer="72"), "row-1") for n in (72, 71))
    questions = [tower, right, wrong, SLOW, *[right, wrong] * 2]
    with RewardPool(options(time_limit_s=2.0)) as pool:
        verdicts = pool.verify(questions)
        assert [v.value for v in verdicts] == [0, 1, 0, 0, *[1, 0] * 2]
        assert [i for i, v in enumerate(verdicts) if v.timed_out] == [3]
        check_failures(verdicts, questions, RewardOptions(max_failed_fraction=0))
        assert pool.verify([right, wrong, EASY]) == [Verdict(1.0), Verdict(0.0), Verdict(1.0)]


def test_many_hanging_answers_cost_little_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uniapl.rewards.pool.PATIENCE", 1)
    monkeypatch.setattr("uniapl.rewards.pool.SHORT_LIMIT_S", 0.2)
    hanging = [Question("a" * (40 + i) + "!", SLOW.reward, "slow") for i in range(6)]
    with RewardPool(options(processes=1, time_limit_s=3.0)) as pool:
        pool.verify([EASY])
        begun = time.monotonic()
        verdicts = pool.verify([*hanging, EASY])
        assert time.monotonic() - begun < 60  # 18 s of CPU time at the full limit, and six starts
    assert [v.value for v in verdicts] == [0.0] * 6 + [1.0]
    assert [by_cpu(v).error for v in verdicts[:6]] == [
        "verification exceeded reward.time_limit_s = 3",
        *["verification exceeded the limit after several timeouts, in seconds: 0.2"] * 5,
    ]


def test_the_full_limit_is_for_few_answers_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are calls: without this, a job of 25 steps would wait for the full limit 100 times."""
    monkeypatch.setattr("uniapl.rewards.pool.PATIENCE", 1)
    monkeypatch.setattr("uniapl.rewards.pool.PER_TIMEOUT", 20)
    monkeypatch.setattr("uniapl.rewards.pool.SHORT_LIMIT_S", 0.2)
    hanging = [Question("a" * (40 + i) + "!", SLOW.reward, "slow") for i in range(3)]
    with RewardPool(options(processes=1, time_limit_s=1.0)) as pool:
        errors = [by_cpu(pool.verify([question])[0]).error or "" for question in hanging[:2]]
        pool.verify(EASIES)
        errors += [by_cpu(pool.verify([hanging[2]])[0]).error or ""]
    assert ["after several timeouts" in error for error in errors] == [False, True, False]


def test_only_the_cpu_time_of_an_answer_is_limited() -> None:
    """On a loaded machine a process waits for its core; here it is stopped, for longer than the limit."""
    busy = Question("a" * 24 + "!", SLOW.reward, "busy")  # a second of one core at most
    with RewardPool(options(processes=1, time_limit_s=3.0)) as pool:
        pool.verify([EASY])
        [child] = children()
        timers = [threading.Timer(0.05, child.suspend), threading.Timer(4.0, child.resume)]
        for timer in timers:
            timer.start()
        assert pool.verify([busy]) == [Verdict(0.0)]
        for timer in timers:
            timer.join()


class Sleeping(str):
    """An answer whose check uses no CPU time and does not end."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("type('Sleeping', (str,), {'strip': lambda _: __import__('time').sleep(600)})('yes')",)


def test_an_answer_that_uses_no_cpu_time_is_ended_by_the_clock() -> None:
    with RewardPool(options(processes=1, time_limit_s=0.1)) as pool:
        assert pool.verify([Question(Sleeping("yes"), EASY.reward, "asleep")]) == [
            Verdict(0.0, "verification took 10 times as long as reward.time_limit_s = 0.1", timed_out=True)
        ]


def test_time_that_a_process_waits_for_a_core_is_not_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loaded machine an answer of 50 ms may take 20 s by the clock."""
    asleep, killed = [0.0], []
    monkeypatch.setattr(worker, "_asleep_s", lambda: asleep[0])
    monkeypatch.setattr(worker, "WALL_CLOCK", 0.005)
    monkeypatch.setattr(worker.os, "kill", lambda _, kind: killed.append(kind))
    before = signal.getsignal(signal.SIGALRM)
    try:
        worker._limit(20)  # and 0.1 s by the clock
        time.sleep(0.3)
        assert killed == []
        asleep[0] = 1.0
        assert eventually(lambda: killed == [signal.SIGALRM])
    finally:
        worker._limit(0)
        signal.signal(signal.SIGALRM, before)


def test_equal_answers_are_judged_once() -> None:
    with RewardPool(options(processes=1, time_limit_s=1.0)) as pool:
        pool.verify([EASY])
        begun = time.monotonic()
        verdicts = pool.verify([SLOW] * 50 + [EASY] * 2)
        assert time.monotonic() - begun < 25  # 50 s at the limit
    assert sum(v.timed_out for v in verdicts) == 50
    assert [v.value for v in verdicts[-2:]] == [1.0, 1.0]


def test_an_evaluation_reads_constraints_as_published() -> None:
    shout = IfevalReward(instruction_id_list=["change_case:english_capital"], kwargs=[{}])
    questions = [Question("MY DOG IS A GOOD BOY.", shout, "row", published=published) for published in (False, True)]
    with RewardPool(options(processes=1)) as pool:
        assert [v.value for v in pool.verify(questions)] == [1.0, 0.0]


ODD = {
    "nested": "[" * 900 + "]" * 900,
    "bottomless": "[" * 5000,
    "infinite": "1e999",
    "digits": "9" * 5000,
    "surrogate": "\ud800 one",
    "nul": "\x00 one",
    "huge": "one " * 200_000,
    "divided": "\\boxed{\\frac{72}{0}}",
    "unclosed": "\\boxed{" + "\\sqrt{" * 20,
}
KINDS: list[Reward] = [
    MathReward(answer="72"),
    NESTED,
    JsonSchemaReward(json_schema={"type": "number", "multipleOf": 0.1}),
    RegexReward(pattern="^(two)+$"),
    ExactMatchReward(answer="72"),
    LengthBandReward(unit="characters", at_most=1),
    IfevalReward(instruction_id_list=["startend:quotation"], kwargs=[{}]),
    WeightedSumReward(parts=[RewardPart(weight=1, reward=NESTED), RewardPart(weight=1, reward=MathReward(answer="2"))]),
]


def test_no_answer_keeps_the_pool_from_the_others() -> None:
    """What a student may write, to each kind of reward: a number for each, and then the next is judged as ever."""
    odd = [Question(answer, reward, f"{reward.type} {name}") for reward in KINDS for name, answer in ODD.items()]
    with RewardPool(options()) as pool:
        verdicts = pool.verify(odd)
        assert pool.verify([EASY, *mixed()[:2]])[0] == Verdict(1.0)
    check_failures(verdicts, odd, RewardOptions(max_failed_fraction=0))
    assert {v.value for v in verdicts} == {0.0}
    failed = {q.row: v.error for q, v in zip(odd, verdicts, strict=True) if v.error}
    assert failed.keys() == {"json_schema nested", "json_schema infinite", "weighted_sum nested"}
    assert all("RecursionError" in failed[name] for name in ("json_schema nested", "weighted_sum nested"))
    assert not any(v.timed_out for v in verdicts)


class Spoiled(str):
    """An answer that runs Python code in the process that reads it, a limited number of times."""

    def __init__(self, _: str, *, code: str, times: int) -> None:
        self.code, self.times = code, times

    def __new__(cls, text: str, **_: Any) -> Spoiled:
        return super().__new__(cls, text)

    def __reduce__(self) -> tuple[Any, ...]:
        self.times -= 1
        return (exec, (self.code,)) if self.times >= 0 else (str, (str(self),))


KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_an_answer_at_which_two_processes_die_earns_nothing() -> None:
    deadly = Question(Spoiled("yes", code=KILLED, times=9), RegexReward(pattern="yes"), "deadly")
    with RewardPool(options(processes=1)) as pool:
        assert pool.verify([EASY, deadly, OTHER]) == [
            Verdict(1.0),
            Verdict(0.0, "the reward process died with exit status -9"),
            Verdict(1.0),
        ]
        assert pool.verify([deadly, EASY])[1] == Verdict(1.0)


def test_an_answer_whose_process_is_killed_once_is_judged_by_another() -> None:
    unlucky = Question(Spoiled("yes", code=KILLED, times=1), RegexReward(pattern="yes"), "unlucky")
    with RewardPool(options(processes=1)) as pool:
        assert pool.verify([EASY, unlucky, OTHER]) == [Verdict(1.0)] * 3


def test_memory_that_an_answer_leaves_behind_is_not_taken_from_the_next() -> None:
    code = "import builtins, mmap; builtins.left = mmap.mmap(-1, 3 << 30)"  # of the four that a process may take
    greedy = Question(Spoiled("yes", code=code, times=1), RegexReward(pattern="yes"), "greedy")
    with RewardPool(options(processes=1)) as pool:
        pool.verify([EASY])
        before = children()
        verdicts = pool.verify([greedy, EASY, OTHER])
        assert verdicts[1:] == [Verdict(1.0)] * 2
        assert children() != before
        assert len(children()) == 1


def test_what_cannot_be_loaded_is_no_fault_of_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latex2sympy2_extended.py").write_text("raise ImportError('a broken installation')")
    monkeypatch.syspath_prepend(tmp_path)
    with RewardPool(options()) as pool:
        assert pool.verify([EASY]) == [Verdict(1.0)]
        with pytest.raises(RewardError, match="could not import the libraries of reward type 'math'") as caught:
            pool.verify([Question("1", MathReward(answer="1"), "row-1")])
    assert "row-1" not in caught.value.message
    assert caught.value.hint is not None


def test_a_process_that_was_killed_while_idle_costs_no_answer() -> None:
    with RewardPool(options(processes=1)) as pool:
        pool.verify([EASY])
        [victim] = children()
        victim.kill()
        assert eventually(lambda: victim.status() == "zombie")
        assert pool.verify(EASIES[:5]) == [Verdict(1.0)] * 5


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
pool.verify([easy, Question("aa", easy.reward, "other")])
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
    with (
        RewardPool(options()) as pool,
        pytest.raises(RewardError, match=r"could not start \(exit status 1\)") as caught,
    ):
        pool.verify([EASY])
    assert caught.value.hint is not None
    assert children() == []


@pytest.mark.parametrize(("kills", "gives_up"), [(2, False), (3, True)])
def test_processes_that_are_killed_while_they_start_are_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, gives_up: bool
) -> None:
    script, left = tmp_path / "python", tmp_path / "left"
    left.write_text("x" * kills)
    script.write_text(
        f'#!/bin/sh\nif [ -s {left} ]; then truncate -s -1 {left}; kill -KILL $$; fi\nexec {sys.executable} "$@"\n'
    )
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    with RewardPool(options(processes=1)) as pool:
        if gives_up:
            with pytest.raises(RewardError, match=r"could not start \(exit status -9\)"):
                pool.verify([EASY])
        else:
            assert pool.verify([EASY]) == [Verdict(1.0)]


def test_more_rows_without_a_usable_gold_than_allowed_stop_the_job_and_name_one() -> None:
    questions = [FAULTY, *[EASY] * 9]
    verdicts = [Verdict(None, "its gold is not mathematics"), *[Verdict(1.0)] * 9]
    check_failures(verdicts, questions, RewardOptions(max_failed_fraction=0.1))  # 1 of 10 may
    check_failures([], [], RewardOptions(max_failed_fraction=0))
    late = [LATE, Verdict(0.0, "RecursionError: too deep")]
    check_failures(late, [EASY, EASY], RewardOptions(max_failed_fraction=0))  # the answers', which earned nothing
    with pytest.raises(
        RewardError, match=r"row faulty: its math reward .* its gold is not mathematics \(1 of 10"
    ) as caught:
        check_failures(verdicts, questions, RewardOptions(max_failed_fraction=0.09))
    assert caught.value.param == "reward.max_failed_fraction"
    assert caught.value.hint is not None
    with pytest.raises(RewardError):
        check_failures(verdicts[:1], questions[:1], RewardOptions(max_failed_fraction=0.5))
