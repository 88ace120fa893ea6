"""The training loop: each step combines demonstrations and rollouts into one gradient and one update.

for each step k:
    rows        <- the dataset mix, a function of (seed, k)
    rollouts    <- groups sampled from the policy, verified and compared with the teacher
    L           =  alpha · L_SFT + (1 - alpha) · L_GRPO + lambda_adv · L_ADV
    policy      <- one AdamW step on L
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from uniapl import tracing
from uniapl.batching.batch import Sequence
from uniapl.data.encoded_row import EncodedRow
from uniapl.data.mixture import rows_of_step
from uniapl.discriminators.base import Discriminator
from uniapl.errors import DivergedError, SpecError, UnhealthyError
from uniapl.objective.adversarial import RunningBaseline
from uniapl.objective.dual import DualWeight
from uniapl.run import manifest
from uniapl.run.config import RunConfig
from uniapl.run.manifest import SavedCheckpoint
from uniapl.run.progress import Progress
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals, Stopped, raise_if_stopped
from uniapl.training import checkpoint
from uniapl.training.behaviour_profile import draw, file_of, save
from uniapl.training.evaluation import Evaluation
from uniapl.training.group_scoring import Prompt
from uniapl.training.health import HealthMonitor
from uniapl.training.learner import Metrics

DISCRIMINATOR, PROFILE = "discriminator", "profile"
"""Folders within a checkpoint: a learned discriminator, the behaviour profiles so far."""
SaveCheckpoint = Callable[[int, dict[str, Any], Mapping[str, Callable[[Path], None]]], SavedCheckpoint]
"""Writes the policy and its optimizer, with the trainer's step, its state and further folders by name."""


class PolicyLearner(Protocol):
    """The part of `Learner` that the loop calls."""

    def update(
        self,
        sequences: Seq[Sequence],
        step: int,
        *,
        measure_terms: bool,
        stoppable: bool = True,
        lambda_factor: float = 1.0,
    ) -> Metrics:
        """One optimizer step over all sequences."""
        ...

    def free_for_sampling(self) -> None:
        """Free the device's memory that only an update needs, where a sampler shares it."""
        ...

    def discard_gradients(self) -> None:
        """Drop the gradients of an update that was stopped."""
        ...


class Collector(Protocol):
    """The part of `RolloutCollector` that the loop calls."""

    baseline: RunningBaseline
    discriminator: Discriminator | None

    def sync(self, version: int) -> None:
        """Give the sampler the policy's weights after `version` updates."""
        ...

    def collect(self, prompts: Seq[Prompt], step: int) -> tuple[list[Sequence], Metrics]:
        """Sample, verify and score completions of each prompt."""
        ...

    def release(self) -> None:
        """Free the sampler's memory on a card that it shares with the learner."""
        ...

    def learn(self, metrics: Metrics) -> None:
        """Train the discriminator on the step's comparisons."""
        ...

    def cancel(self) -> None:
        """Discard background scoring."""
        ...


@dataclass
class Trainer:
    """The loop over steps, with everything it needs loaded."""

    run: RunConfig
    reporter: Reporter
    signals: Signals
    learner: PolicyLearner
    collector: Collector
    health: HealthMonitor
    save_checkpoint: SaveCheckpoint
    evaluate: Callable[[], Evaluation] | None
    """`None` where no rows are held out."""
    mix: list[list[EncodedRow]]
    done: int
    """Updates so far."""
    progress: Progress = field(default_factory=Progress)
    dual: DualWeight = field(default_factory=DualWeight)
    _saved: int = field(init=False)
    """Step of the newest checkpoint: the one that this run started from, or one that it has written."""

    def __post_init__(self) -> None:
        self._saved = self.done

    @property
    def _profiles(self) -> Path:
        return Path(self.run.run_dir) / PROFILE

    @property
    def _checkpoints(self) -> Path:
        return Path(self.run.run_dir) / checkpoint.FOLDER

    def resume(self, path: Path) -> None:
        """Restore the trainer's state from a checkpoint; weights and optimizer are restored already.

        Raises:
            CheckpointError: the checkpoint is incomplete.
            SpecError: the checkpoint is beyond the job's last step.
        """
        steps = self.run.spec.schedule.steps
        if self.done > steps:
            raise SpecError(f"the checkpoint is already at step {self.done} of {steps}", param="schedule.steps")
        state = checkpoint.load_state(path)
        self.collector.baseline.mean = state["score_baseline"]
        self.dual = DualWeight(**state.get("dual", {}))  # absent in checkpoints of earlier releases
        self.health.restore(state["health"])
        if self.collector.discriminator is not None:
            self.collector.discriminator.load(path / DISCRIMINATOR)
        if (path / PROFILE).is_dir():  # from an earlier attempt: the picture covers the whole job
            _copy_profiles(path / PROFILE, self._profiles)
        self.reporter.event(f"resumed after step {self.done}", step=self.done)

    def train(self) -> bool:
        """Run to the last step.

        Returns:
            False when the run was stopped on request before that; the last finished step then has a checkpoint too.
        """
        try:
            self._train()
        except Stopped:
            self._stop()
            return False
        return True

    def _train(self) -> None:
        schedule = self.run.spec.schedule
        evaluation = self.run.spec.evaluation
        skipped = self.done == 0 and evaluation is not None and not evaluation.at_start
        if self.done == schedule.steps:
            self._evaluate_at_the_end()
        elif self.done % schedule.eval_every == 0 and not skipped:  # also when a stop came before its evaluation
            self._evaluate()
        self.reporter.phase("training")
        while self.done < schedule.steps:
            raise_if_stopped()
            try:
                with tracing.span("step", step=self.done + 1):
                    metrics = self._step(self.done)
            except DivergedError as error:
                self.reporter.event(error.message, level="error", signature="not_finite", step=self.done + 1)
                raise
            self.done += 1
            self.reporter.metrics(self.done, metrics)
            self.progress.print_step(self.done, schedule.steps, metrics)
            self._check_health(metrics)
            last = self.done == schedule.steps
            if last or self.done % schedule.eval_every == 0:
                self._evaluate()
            if last or self.signals.take_checkpoint() or self.done % schedule.checkpoint_every == 0:
                self._save()

    def _stop(self) -> None:
        """Discard the unfinished step, and save the last finished one if it has no checkpoint."""
        self.learner.discard_gradients()
        if self.done > self._saved:
            self._save()
        self.collector.cancel()
        self.reporter.event(
            f"stopped on request; checkpoint saved at step {self.done}"
            if self.done
            else "stopped on request before the first step finished"
        )

    def _step(self, step: int) -> Metrics:
        """Policy update number `step`, counted from 0; a stop within it leaves the state in checkpoints as it was."""
        baseline = self.collector.baseline.mean
        try:
            return self._update(step)
        except Stopped:
            self.collector.baseline.mean = baseline
            raise

    def _update(self, step: int) -> Metrics:
        started = time.monotonic()
        sequences, prompts = self._inputs(step)
        metrics: Metrics = {}
        if prompts:
            synced = self._sync()
            rollouts, metrics = self.collector.collect(prompts, step)
            metrics |= synced
            sequences += rollouts
        else:  # a server that has not sampled yet is awake
            self.collector.release()
        metrics |= self._updates(sequences, step, self.run.spec.grpo.updates_per_rollout if prompts else 1)
        self.collector.learn(metrics)
        self._adapt_lambda(metrics)
        return metrics | {"step_time": time.monotonic() - started}

    def _updates(self, sequences: list[Sequence], step: int, number: int) -> Metrics:
        """Updates on the same sequences; a stop is accepted before the first only, since a step is done as a whole."""
        measured = self.run.spec.schedule.measures_terms(step)
        factor = self.dual.factor
        first = self.learner.update(sequences, step, measure_terms=measured, lambda_factor=factor)
        rest = [
            self.learner.update(sequences, step, measure_terms=False, stoppable=False, lambda_factor=factor)
            for _ in range(number - 1)
        ]
        return over_updates([first, *rest])

    def _adapt_lambda(self, metrics: Metrics) -> None:
        """In the constrained form, move lambda_adv of the next step by this step's mean score."""
        options, judge = self.run.spec.adversarial, self.collector.discriminator
        if options.constraint is None or judge is None:
            return
        scale = options.score_scale or judge.default_scale
        self.dual.update(metrics.get("disc/score_student"), scale, options.constraint)

    def _inputs(self, step: int) -> tuple[list[Sequence], list[Prompt]]:
        """The step's demonstrations, and its prompts to sample from."""
        spec = self.run.spec
        chosen = rows_of_step(
            step,
            mix=spec.dataset_mix,
            sizes=[len(rows) for rows in self.mix],
            prompts_per_step=spec.schedule.prompts_per_step,
            seed=spec.seed,
        )
        weights = spec.weights_at(step)
        demonstrations: list[Sequence] = []
        prompts: list[Prompt] = []
        for entry, index in chosen:
            row, role = self.mix[entry][index], spec.dataset_mix[entry].role
            if weights.alpha > 0 and role in ("sft", "both"):
                demonstrations += [Sequence(*tokens, demonstration=True) for tokens in row.demonstrations]
            explored = weights.alpha < 1 and role in ("rl", "both")
            compared = weights.lambda_adv > 0 and role in spec.compared_roles() and row.reference is not None
            if explored or compared:
                prompts.append(Prompt(row, explored, compared))
        return demonstrations, prompts

    def _sync(self) -> Metrics:
        started = time.monotonic()
        self.learner.free_for_sampling()
        self.collector.sync(self.done)
        return {"time/sync_weights": time.monotonic() - started}

    def _check_health(self, metrics: Metrics) -> None:
        """Report the failure signatures that begin at this step.

        Raises:
            UnhealthyError: the job stops on one of them; a checkpoint is written first.
        """
        for finding in self.health.observe(self.done, metrics):
            self.reporter.event(
                f"{finding.signature}: {finding.message}",
                level="warning",
                signature=finding.signature,
                step=finding.step,
                evidence=finding.evidence,
            )
            if finding.stop:
                self._save()
                raise UnhealthyError(
                    f"{finding.signature} at step {finding.step}: {finding.message}",
                    param="health.stop_on",
                    hint="inspect the checkpoint of this step, change the spec, and resume from an earlier checkpoint",
                )

    def _evaluate_at_the_end(self) -> None:
        """Repeat the last evaluation, during which the run was stopped; a new profile belongs in a checkpoint."""
        profile = file_of(self._profiles, self.done)
        known = profile.exists()
        self._evaluate()
        if profile.exists() and not known and self.done not in manifest.steps_in(self._checkpoints):
            self._save()

    def _evaluate(self) -> None:
        if self.evaluate is None:
            return
        self.reporter.phase("evaluating")
        self._sync()
        spec, found = self.run.spec, self.evaluate()
        profile = found.profile(self.done)
        self.reporter.metrics(self.done, found.metrics() | (profile.metrics() if profile else {}))
        if profile is not None:
            save(profile, self._profiles)
            draw(self._profiles)
        for answer in found.greedy[: spec.evaluation.samples if spec.evaluation else 0]:
            self.reporter.sample(
                self.done,
                row=answer.row.id,
                prompt=answer.row.prompt,
                completion=answer.text,
                reference=answer.row.reference,
                reward=answer.reward,
                score=answer.score,
            )
        self.reporter.phase("training")

    def _save(self) -> None:
        self.reporter.phase("saving")
        state = {
            "score_baseline": self.collector.baseline.mean,
            "dual": asdict(self.dual),
            "health": self.health.state(),
        }
        parts: dict[str, Callable[[Path], None]] = {}
        if self.collector.discriminator is not None:
            parts[DISCRIMINATOR] = self.collector.discriminator.save
        if self._profiles.is_dir():
            parts[PROFILE] = lambda folder: _copy_profiles(self._profiles, folder)
        saved = self.save_checkpoint(self.done, state, parts)
        self._saved = saved.step
        self.reporter.checkpoint(saved.step, saved.path, saved.manifest_sha256, saved.bytes)
        if not self.run.keep_all_checkpoints:
            checkpoint.prune(self._checkpoints, self.run.spec.schedule.keep_checkpoints)
        self.reporter.phase("training")


def over_updates(found: list[Metrics]) -> Metrics:
    """Metrics of a step's updates as one: sums of times and tokens, maxima, and means of the others."""
    merged: Metrics = {}
    for name in dict.fromkeys(name for metrics in found for name in metrics):
        values = [metrics[name] for metrics in found if name in metrics]
        if name.startswith(("time/", "perf/")) or name == "num_tokens":
            merged[name] = sum(values)
        else:
            merged[name] = max(values) if name.endswith("/max") else sum(values) / len(values)
    return merged


def _copy_profiles(source: Path, target: Path) -> None:
    """Copy the profiles without the picture, which is drawn from them."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.png"), dirs_exist_ok=True)
