"""The training loop alone: the order of steps, evaluations and checkpoints, stops, health, and resuming.

Learner, collector and evaluation are small fakes that write a log; reporter, health monitor, signals and checkpoint
folders are the real ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Seq
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from uniapl.batching.batch import Sequence
from uniapl.data.encoded_row import EncodedRow
from uniapl.discriminators.base import Comparison, Discriminator, FrozenDiscriminator
from uniapl.errors import DivergedError, SpecError, UnhealthyError
from uniapl.objective.adversarial import RunningBaseline
from uniapl.rollout.generator import Completion
from uniapl.run import manifest
from uniapl.run.config import RunConfig
from uniapl.run.reporter import Reporter
from uniapl.run.reports import REPORT, EventReport, MetricReport, Report
from uniapl.run.signals import Signals, raise_if_stopped
from uniapl.training.evaluation import Answer, Evaluation
from uniapl.training.group_scoring import Prompt
from uniapl.training.health import HealthMonitor
from uniapl.training.trainer import Trainer

pytestmark = pytest.mark.integration

ROW = EncodedRow("r1", "a prompt", [5, 6], "an answer", [7, 2], None)


class Log(list[str]):
    """Calls in order; `at` maps an entry to a function that runs when it is written."""

    def __init__(self) -> None:
        self.at: dict[str, Callable[[], None]] = {}

    def write(self, entry: str) -> None:
        self.append(entry)
        self.at.get(entry, lambda: None)()


class FakeLearner:
    def __init__(self, log: Log, metrics: Mapping[str, float]) -> None:
        self._log, self._metrics, self.seen = log, metrics, list[Seq[Sequence]]()
        self.factors: list[float] = []

    def update(
        self,
        sequences: Seq[Sequence],
        step: int,
        *,
        measure_terms: bool,
        stoppable: bool = True,
        lambda_factor: float = 1.0,
    ) -> dict[str, float]:
        self.factors.append(lambda_factor)
        assert stoppable == (not self.seen or self.seen[-1] is not sequences)  # a step is done as a whole
        self.seen.append(sequences)
        self._log.write(f"update {step}")
        return {"loss": 1.0, **self._metrics}

    def free_for_sampling(self) -> None:
        self._log.write("free")

    def discard_gradients(self) -> None:
        self._log.write("discard")


class EqualScores(FrozenDiscriminator):
    default_scale = 10.0

    def score(self, comparisons: Seq[Comparison]) -> Tensor:
        return torch.zeros(len(comparisons))


class FakeCollector:
    def __init__(self, log: Log, discriminator: Discriminator | None) -> None:
        self._log, self.prompts = log, list[Seq[Prompt]]()
        self.baseline, self.discriminator = RunningBaseline(), discriminator

    def sync(self, version: int) -> None:
        self._log.write(f"sync {version}")

    def collect(self, prompts: Seq[Prompt], step: int) -> tuple[list[Sequence], dict[str, float]]:
        self.prompts.append(prompts)
        self.baseline.mean = step + 0.5
        self._log.write(f"collect {step}")
        return [Sequence([5], [2], advantage=1.0, old_logprobs=[-1.0]) for _ in prompts], {}

    def learn(self, metrics: dict[str, float]) -> None:
        self._log.write("learn")

    def release(self) -> None:
        self._log.write("release")

    def cancel(self) -> None:
        self._log.write("cancel")


class Bench:
    """A trainer with fakes in a run directory, and its log."""

    def __init__(self, folder: Path, reporter: Reporter, signals: Signals, *, done: int = 0, **given: Any) -> None:
        options = given.pop("options", {})
        metrics, discriminator = given.pop("metrics", {}), given.pop("discriminator", None)
        mix, evaluation = given.pop("mix", [[ROW, replace(ROW, id="r2")]]), given.pop("evaluation", plain)
        keep_all, schedule = (
            given.pop("keep_all", False),
            {"steps": 3, "prompts_per_step": 2, **given.pop("schedule", {})},
        )
        spec = {"student": "s", "dataset_mix": [{"dataset": "d"}], "schedule": schedule, **given}
        if evaluation is not None:
            spec |= {"evaluation": {"dataset": "h", "rows": 1, "at_start": False, **options}}
        run = {"spec": spec, "run_dir": str(folder), "keep_all_checkpoints": keep_all}
        self.folder, self.log = folder, Log()
        self.learner, self.collector = FakeLearner(self.log, metrics), FakeCollector(self.log, discriminator)
        self.trainer = Trainer(
            RunConfig.model_validate(run),
            reporter,
            signals,
            self.learner,
            self.collector,
            HealthMonitor(RunConfig.model_validate(run).spec.health),
            self._save,
            None if evaluation is None else lambda: (self.log.write("evaluate"), evaluation())[1],
            mix,
            done,
        )

    def _save(
        self, step: int, state: dict[str, Any], parts: Mapping[str, Callable[[Path], None]]
    ) -> manifest.SavedCheckpoint:
        def write(target: Path) -> None:
            (target / "state.json").write_text(json.dumps(state))
            for name, part in parts.items():
                part(target / name)

        self.log.write(f"save {step}")
        return manifest.publish(self.folder / "checkpoints", step, write, {})

    @property
    def saved(self) -> list[int]:
        return manifest.steps_in(self.folder / "checkpoints")

    @property
    def newest(self) -> Path:
        return manifest.folder_of(self.folder / "checkpoints", self.saved[-1])

    def reports(self, kind: type[Report]) -> list[Any]:
        lines = (self.folder / "reports.jsonl").read_text().splitlines()
        return [report for report in map(REPORT.validate_json, lines) if isinstance(report, kind)]


def plain() -> Evaluation:
    return Evaluation([Answer(ROW, "text", Completion([5, 2], [-1.0, -1.0], False), 1.0, None)], [], [], [])


def profiled() -> Evaluation:
    answers = [Answer(ROW, "text", Completion([5, 2], [-1.0, -2.0], False), 1.0, None)]
    return Evaluation(answers, answers, [[-0.5, -0.5]], [[-0.5, -0.5]])


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Signals:
    """Signal state of this process, without handlers."""
    signals = Signals()
    monkeypatch.setattr("uniapl.run.signals._installed", signals)
    monkeypatch.setattr("uniapl.training.trainer.draw", lambda folder: folder)  # a second of matplotlib
    return signals


def stop(signals: Signals) -> Callable[[], None]:
    """SIGTERM during the work of a component."""

    def now() -> None:
        signals.stop = True
        raise_if_stopped()

    return now


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path, signals: Signals) -> Iterator[Make]:
    """Makes trainers, each in a run directory of the given name."""
    with ExitStack() as stack:

        def one(name: str, **given: Any) -> Bench:
            reporter = stack.enter_context(Reporter(tmp_path / name / "reports.jsonl"))
            return Bench(tmp_path / name, reporter, signals, **given)

        yield one


STEP = ["free", "sync {0}", "collect {0}", "update {0}", "learn"]


def step(number: int) -> list[str]:
    return [entry.format(number) for entry in STEP]


def test_the_order_of_a_run(make: Make) -> None:
    schedule = {"steps": 5, "eval_every": 2, "checkpoint_every": 3}
    bench = make("run", schedule=schedule, options={"at_start": True})
    assert bench.trainer.train()
    assert bench.log == [
        *("free", "sync 0", "evaluate"),
        *step(0),
        *step(1),
        *("free", "sync 2", "evaluate"),
        *step(2),
        "save 3",
        *step(3),
        *("free", "sync 4", "evaluate"),
        *step(4),
        *("free", "sync 5", "evaluate", "save 5"),
    ]
    assert [r.step for r in bench.reports(MetricReport) if "loss" in r.values] == [1, 2, 3, 4, 5]
    assert [r.step for r in bench.reports(MetricReport) if "eval/reward" in r.values] == [0, 2, 4, 5]


@pytest.mark.parametrize(
    ("schedule", "evaluated", "saved"),
    [
        ({"steps": 1, "eval_every": 1, "checkpoint_every": 1}, 1, [1]),
        ({"steps": 3, "eval_every": 10, "checkpoint_every": 10}, 1, [3]),
        ({"steps": 3, "eval_every": 3, "checkpoint_every": 1, "keep_checkpoints": 2}, 1, [2, 3]),
        ({"steps": 4, "eval_every": 1, "checkpoint_every": 3, "keep_checkpoints": 2}, 4, [3, 4]),
    ],
)
def test_the_last_step_is_evaluated_and_saved_once_and_old_checkpoints_are_deleted(
    schedule: dict[str, int], evaluated: int, saved: list[int], make: Make
) -> None:
    bench = make("run", schedule=schedule)
    assert bench.trainer.train()
    assert (bench.log.count("evaluate"), bench.saved) == (evaluated, saved)


def test_a_launcher_may_keep_every_checkpoint(make: Make) -> None:
    bench = make("run", schedule={"checkpoint_every": 1, "keep_checkpoints": 2}, keep_all=True)
    assert bench.trainer.train()
    assert bench.saved == [1, 2, 3]


def test_without_held_out_rows_nothing_is_evaluated(make: Make) -> None:
    bench = make("run", evaluation=None)
    assert bench.trainer.train()
    assert bench.log == [*step(0), *step(1), *step(2), "save 3"]


def test_a_requested_checkpoint_is_written_after_the_step_and_once(make: Make, signals: Signals) -> None:
    bench = make("run", evaluation=None, keep_all=True)
    bench.log.at["collect 0"] = signals._on_usr1
    assert bench.trainer.train()
    assert bench.log == [*step(0), "save 1", *step(1), *step(2), "save 3"]


@pytest.mark.parametrize(
    ("at", "saved", "message"),
    [
        ("sync 0", [], "before the first step finished"),
        ("collect 0", [], "before the first step finished"),
        ("sync 1", [1], "saved at step 1"),
        ("collect 1", [1], "saved at step 1"),
        ("update 1", [1], "saved at step 1"),
        ("evaluate", [2], "saved at step 2"),
    ],
)
def test_a_stop_drops_the_phase_and_saves_the_last_finished_step(
    at: str, saved: list[int], message: str, make: Make, signals: Signals
) -> None:
    bench = make("run", schedule={"eval_every": 2})
    bench.log.at[at] = stop(signals)
    assert not bench.trainer.train()
    assert bench.log[bench.log.index(at) + 1 :] == ["discard", *(f"save {step}" for step in saved), "cancel"]
    assert bench.saved == saved
    assert bench.collector.baseline.mean == (saved[-1] - 0.5 if saved else RunningBaseline().mean)
    assert message in bench.reports(EventReport)[-1].message


@pytest.mark.parametrize(
    ("at", "saved", "finished"), [("learn", [1], False), ("save 2", [2], False), ("save 3", [2, 3], True)]
)
def test_learning_and_saving_are_not_interrupted(
    at: str, saved: list[int], finished: bool, make: Make, signals: Signals
) -> None:
    bench = make("run", evaluation=None, schedule={"checkpoint_every": 2})
    bench.log.at[at] = lambda: setattr(signals, "stop", True)
    assert bench.trainer.train() is finished
    assert bench.saved == saved
    assert bench.log.count(f"save {saved[-1]}") == 1


def test_an_interrupted_last_evaluation_is_repeated_and_saved(make: Make, signals: Signals) -> None:
    first = make("1", evaluation=profiled)
    first.log.at["evaluate"] = stop(signals)
    assert not first.trainer.train()
    signals.stop = False
    second = make("2", evaluation=profiled, done=3)
    second.trainer.resume(first.newest)
    assert second.trainer.train()
    assert second.log == ["free", "sync 3", "evaluate", "save 3"]
    assert (second.newest / "profile" / "step-00000003.json").exists()
    third = make("3", evaluation=profiled, done=3)
    third.trainer.resume(second.newest)  # the measurement is in the checkpoint already
    assert third.trainer.train()
    assert third.log == ["free", "sync 3", "evaluate"]


def test_a_failure_signature_that_stops_the_job_saves_first(make: Make) -> None:
    bench = make("run", metrics={"loss": math.inf})
    with pytest.raises(UnhealthyError, match=r"not_finite at step 1: .*loss is inf"):
        bench.trainer.train()
    assert bench.log == [*step(0), "save 1"]
    assert [r.data["signature"] for r in bench.reports(EventReport)] == ["not_finite"]


def test_a_failure_signature_may_be_a_warning_only(make: Make) -> None:
    bench = make("run", metrics={"entropy": math.nan})
    assert bench.trainer.train()
    assert [(r.level, r.data["signature"]) for r in bench.reports(EventReport)] == [("warning", "not_finite")]


def test_an_update_that_diverges_is_reported_and_not_saved(make: Make) -> None:
    def diverge() -> None:
        raise DivergedError("loss is nan")

    bench = make("run")
    bench.log.at["update 1"] = diverge
    with pytest.raises(DivergedError):
        bench.trainer.train()
    [event] = bench.reports(EventReport)
    assert (event.level, event.data) == ("error", {"signature": "not_finite", "step": 2})
    assert bench.saved == []


def test_a_resumed_trainer_restores_the_state_of_the_checkpoint(make: Make) -> None:
    first = make("1", metrics={"entropy": math.nan}, schedule={"steps": 2})
    assert first.trainer.train()
    second = make("2", metrics={"entropy": math.nan}, done=2)
    second.trainer.resume(first.newest)
    assert second.collector.baseline.mean == first.collector.baseline.mean
    assert second.trainer.train()
    assert second.log[:5] == step(2)
    assert [r.message for r in second.reports(EventReport)] == ["resumed after step 2"]  # the signature had begun


def test_lambda_adapts_after_each_step_and_is_part_of_the_checkpoint(make: Make) -> None:
    options: dict[str, Any] = {"constraint": {"score": 0.5, "rate": 0.02}, "score_scale": 2.0}
    given: dict[str, Any] = {"metrics": {"disc/score_student": 0.25}, "adversarial": options, "evaluation": None}
    first = make("1", **given, discriminator=EqualScores(), grpo={"updates_per_rollout": 2})
    assert first.trainer.train()
    assert first.learner.factors == pytest.approx([1, 1, *[math.exp(0.21)] * 2, *[math.exp(0.22)] * 2])
    second = make("2", **given, discriminator=EqualScores(), schedule={"steps": 4}, done=3)
    second.trainer.resume(first.newest)
    assert second.trainer.train()
    assert second.learner.factors == pytest.approx([math.exp(0.23)])
    literal = make("3", **given | {"adversarial": {}}, discriminator=EqualScores())
    assert literal.trainer.train()
    assert literal.learner.factors == [1, 1, 1]


def test_a_checkpoint_beyond_the_last_step_is_refused(make: Make) -> None:
    first = make("1")
    assert first.trainer.train()
    second = make("2", schedule={"steps": 2}, done=3)
    with pytest.raises(SpecError, match="step 3 of 2") as caught:
        second.trainer.resume(first.newest)
    assert caught.value.param == "schedule.steps"


def test_roles_and_weights_decide_what_a_row_is_used_for(make: Make) -> None:
    roles = [{"dataset": role, "role": role} for role in ("sft", "rl", "both")]
    rows = [[replace(ROW, id=entry["role"])] for entry in roles]
    rows[1] = [replace(rows[1][0], reference=None, reference_ids=None)]
    schedule = {"steps": 1, "prompts_per_step": 3}
    bench = make("1", mix=rows, dataset_mix=roles, schedule=schedule, alpha=0.5, lambda_adv=0.1)
    assert bench.trainer.train()
    assert sum(s.demonstration for s in bench.learner.seen[0]) == 2
    [prompts] = bench.collector.prompts
    assert [(p.row.id, p.explored, p.compared) for p in prompts] == [("rl", True, False), ("both", True, True)]
    imitation = make("2", schedule={"steps": 1}, alpha=1, lambda_adv=0, evaluation=None)
    assert imitation.trainer.train()
    assert imitation.log == ["release", "update 0", "learn", "save 1"]


def test_the_sequences_of_a_step_are_used_for_several_updates(make: Make) -> None:
    bench = make("run", evaluation=None, schedule={"steps": 2}, grpo={"updates_per_rollout": 3})
    assert bench.trainer.train()
    updates = [[f"update {i}"] * 3 for i in range(2)]
    assert [entry for entry in bench.log if entry.startswith(("collect", "update"))] == [
        *("collect 0", *updates[0]),
        *("collect 1", *updates[1]),
    ]
    assert bench.learner.seen[0] is bench.learner.seen[2] is not bench.learner.seen[3]
    assert [r.step for r in bench.reports(MetricReport)] == [1, 2]


def test_steps_without_rollouts_have_one_update(make: Make) -> None:
    bench = make("run", evaluation=None, alpha=1, lambda_adv=0, grpo={"updates_per_rollout": 3})
    assert bench.trainer.train()
    assert bench.log.count("update 0") == 1
