"""The loop: demonstrations and rollouts in every step, one gradient, one update.

for each step k:
    rows        <- the dataset mix, a function of (seed, k)
    rollouts    <- groups sampled from the policy, verified and compared with the teacher
    L           =  alpha · L_SFT + (1 - alpha) · L_GRPO + lambda_adv · L_ADV
    policy      <- one AdamW step on L
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from uniapl import tracing
from uniapl.batching.batch import Sequence
from uniapl.data.encoding import EncodedRow
from uniapl.data.mixture import rows_of_step
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.errors import DivergedError, SpecError, UnhealthyError
from uniapl.model.policy import Policy
from uniapl.run import manifest
from uniapl.run.config import RunConfig
from uniapl.run.progress import Progress
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals, Stopped, raise_if_stopped
from uniapl.training import checkpoint
from uniapl.training.behaviour_profile import draw, file_of, save
from uniapl.training.evaluation import evaluate
from uniapl.training.health import HealthMonitor
from uniapl.training.learner import Learner
from uniapl.training.rollout_collector import Metrics, Prompt, RolloutCollector

DISCRIMINATOR, PROFILE = "discriminator", "profile"
"""Folders within a checkpoint: a learned discriminator, the measurements so far."""


@dataclass
class Trainer:
    """Everything a run needs, loaded."""

    run: RunConfig
    reporter: Reporter
    signals: Signals
    policy: Policy
    learner: Learner
    collector: RolloutCollector
    health: HealthMonitor
    mix: list[list[EncodedRow]]
    held_out: list[EncodedRow]
    done: int
    """Updates made so far."""
    progress: Progress = field(default_factory=Progress)
    _saved: int = field(init=False)
    """Step of the newest checkpoint: the one that this run began from, or one that it has written."""

    def __post_init__(self) -> None:
        self._saved = self.done

    @property
    def _profiles(self) -> Path:
        return Path(self.run.run_dir) / PROFILE

    @property
    def _checkpoints(self) -> Path:
        return Path(self.run.run_dir) / "checkpoints"

    def resume(self, path: Path) -> None:
        """Take up the optimizer and the running means of a checkpoint; its weights are loaded already.

        Raises:
            CheckpointError: the checkpoint lacks something.
            SpecError: it is beyond the job's last step.
        """
        steps = self.run.spec.schedule.steps
        if self.done > steps:
            raise SpecError(f"the checkpoint is already at step {self.done} of {steps}", param="schedule.steps")
        checkpoint.load_optimizer(path, self.policy, self.learner.optimizer)
        state = checkpoint.load_state(path)
        self.collector.baseline.mean = state["score_baseline"]
        self.health.restore(state["health"])
        if isinstance(self.collector.discriminator, LearnedDiscriminator):
            self.collector.discriminator.load(path / DISCRIMINATOR)
        if (path / PROFILE).is_dir():  # another attempt's: its picture begins where the job did
            _copy_profiles(path / PROFILE, self._profiles)
        self.reporter.event(f"resumed after step {self.done}", step=self.done)

    def train(self) -> bool:
        """Run to the last step.

        Returns:
            False when a signal asked to stop before that; the last finished step has a checkpoint then too.
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
        """Drop what is under way, and see that the last finished step has a checkpoint."""
        self.learner.optimizer.zero_grad()
        if self.done > self._saved:
            self._save()
        self.collector.background.cancel()
        finished = (
            f"after step {self.done}, the last finished one" if self.done else "before the first step was finished"
        )
        self.reporter.event(f"stopped on request {finished}")

    def _step(self, step: int) -> Metrics:
        """Policy update number `step`, counted from 0; a stop within it changes nothing that a checkpoint holds."""
        baseline = self.collector.baseline.mean
        try:
            return self._update(step)
        except Stopped:
            self.collector.baseline.mean = baseline
            raise

    def _update(self, step: int) -> Metrics:
        started = time.monotonic()
        spec = self.run.spec
        chosen = rows_of_step(
            step,
            mix=spec.dataset_mix,
            sizes=[len(rows) for rows in self.mix],
            prompts_per_step=spec.schedule.prompts_per_step,
            seed=spec.seed,
        )
        weights = spec.weights_at(step)
        sequences: list[Sequence] = []
        prompts: list[Prompt] = []
        for entry, index in chosen:
            row, role = self.mix[entry][index], spec.dataset_mix[entry].role
            if weights.alpha > 0 and role in ("sft", "both") and row.reference_ids:
                sequences.append(Sequence(row.prompt_ids, row.reference_ids, demonstration=True))
            explored = weights.alpha < 1 and role in ("rl", "both")
            compared = weights.lambda_adv > 0 and role in spec.compared_roles() and row.reference is not None
            if explored or compared:
                prompts.append(Prompt(row, explored, compared))
        metrics: Metrics = {}
        if prompts:
            synced = self._sync()
            rollouts, metrics = self.collector.collect(prompts, step)
            metrics |= synced
            sequences += rollouts
        measure = step % spec.schedule.term_norms_every == 0
        metrics |= self.learner.update(sequences, step, measure_terms=measure)
        self.collector.learn(metrics)
        return metrics | {"step_time": time.monotonic() - started}

    def _sync(self) -> Metrics:
        """Have the sampler take the policy's weights as they are."""
        started = time.monotonic()
        self.collector.generator.sync(self.done)
        return {"time/sync_weights": time.monotonic() - started}

    def _check_health(self, metrics: Metrics) -> None:
        """Tell the failure signatures that begin at this step.

        Raises:
            UnhealthyError: one of those that the job stops on; a checkpoint has been written then.
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
                    hint="the last checkpoint is from this step",
                )

    def _evaluate_at_the_end(self) -> None:
        """Make up for the last evaluation, in which the run was stopped; what it measures belongs in a checkpoint."""
        profile = file_of(self._profiles, self.done)
        known = profile.exists()
        self._evaluate()
        if profile.exists() and not known and self.done not in manifest.steps_in(self._checkpoints):
            self._save()

    def _evaluate(self) -> None:
        if not self.held_out:
            return
        self.reporter.phase("evaluating")
        self._sync()
        spec = self.run.spec
        found = evaluate(
            self.held_out,
            spec=spec,
            policy=self.policy,
            generator=self.collector.generator,
            rewards=self.collector.rewards,
            discriminator=self.collector.discriminator,
        )
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
        spec = self.run.spec
        state = {"score_baseline": self.collector.baseline.mean, "health": self.health.state()}
        judge = self.collector.discriminator
        parts: dict[str, Callable[[Path], None]] = {}
        if isinstance(judge, LearnedDiscriminator):
            parts[DISCRIMINATOR] = judge.save
        if self._profiles.is_dir():
            parts[PROFILE] = lambda folder: _copy_profiles(self._profiles, folder)
        saved = checkpoint.save(self._checkpoints, self.policy, self.learner.optimizer, spec, self.done, state, parts)
        self._saved = saved.step
        self.reporter.checkpoint(saved.step, saved.path, saved.manifest_sha256, saved.bytes)
        if not self.run.keep_all_checkpoints:
            checkpoint.prune(self._checkpoints, spec.schedule.keep_checkpoints)
        self.reporter.phase("training")


def _copy_profiles(source: Path, target: Path) -> None:
    """The measurements, without the picture: that is drawn from them."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.png"), dirs_exist_ok=True)
