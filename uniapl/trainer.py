"""The loop: demonstrations and rollouts in every step, one gradient, one update.

for each step k:
    rows        <- the dataset mix, a function of (seed, k)
    rollouts    <- groups sampled from the policy, verified and compared with the teacher
    L           =  alpha · L_SFT + (1 - alpha) · L_GRPO + lambda_adv · L_ADV
    policy      <- one AdamW step on L
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from uniapl import checkpoint
from uniapl.batch import Sequence
from uniapl.data import EncodedRow, encode_rows, load_rows
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.discriminators.load import load_discriminator
from uniapl.errors import DatasetError, DivergedError, SpecError, UnhealthyError
from uniapl.evaluate import evaluate
from uniapl.explore import Explorer, Metrics, Prompt
from uniapl.health import HealthMonitor
from uniapl.learner import Learner
from uniapl.lora import load_adapter, with_lora
from uniapl.mix import rows_of_step
from uniapl.policy import Policy, Reference, load_policy, with_chat_template
from uniapl.profile import draw, save
from uniapl.report import Reporter
from uniapl.rewards.pool import RewardPool
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.signals import Signals
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.requirements import DatasetContents, check_mix
from uniapl.spec.run import ModelSource, RunConfig
from uniapl.teachers.references import fill_references, without_failing_references

DISCRIMINATOR = "discriminator"
"""Folder of a learned discriminator within a checkpoint."""


@dataclass
class Trainer:
    """Everything a run needs, loaded."""

    run: RunConfig
    reporter: Reporter
    signals: Signals
    policy: Policy
    learner: Learner
    explorer: Explorer
    health: HealthMonitor
    mix: list[list[EncodedRow]]
    held_out: list[EncodedRow]
    done: int
    """Updates made so far."""

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
        self.explorer.baseline.mean = state["score_baseline"]
        self.health.restore(state["health"])
        if isinstance(self.explorer.discriminator, LearnedDiscriminator):
            self.explorer.discriminator.load(path / DISCRIMINATOR)
        self.reporter.event(f"resumed after step {self.done}", step=self.done)

    def train(self) -> bool:
        """Run to the last step.

        Returns:
            False when a signal asked to stop before that; a checkpoint has been written then too.
        """
        schedule = self.run.spec.schedule
        evaluation = self.run.spec.evaluation
        skipped = self.done == 0 and evaluation is not None and not evaluation.at_start
        if self.done % schedule.eval_every == 0 and not skipped:  # also when a stop came before this step's evaluation
            self._evaluate()
        self.reporter.phase("training")
        while self.done < schedule.steps:
            try:
                metrics = self._step(self.done)
            except DivergedError as error:
                self.reporter.event(error.message, level="error", signature="not_finite", step=self.done + 1)
                raise
            self.done += 1
            self.reporter.metrics(self.done, metrics)
            self._judge(metrics)
            last = self.done == schedule.steps
            stop = self.signals.stop and not last
            if last or (self.done % schedule.eval_every == 0 and not stop):  # who asks to stop does not wait long
                self._evaluate()
            if last or stop or self.signals.take_checkpoint() or self.done % schedule.checkpoint_every == 0:
                self._save()
            if stop:
                self.reporter.event(f"asked to stop; checkpoint written after step {self.done}")
                return False
        return True

    def _step(self, step: int) -> Metrics:
        """Policy update number `step`, counted from 0."""
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
            rollouts, metrics = self.explorer.explore(prompts, step)
            sequences += rollouts
        measure = step % spec.schedule.term_norms_every == 0
        metrics |= self.learner.update(sequences, step, measure_terms=measure)
        return metrics | {"step_time": time.monotonic() - started}

    def _judge(self, metrics: Metrics) -> None:
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

    def _evaluate(self) -> None:
        if not self.held_out:
            return
        self.reporter.phase("evaluating")
        spec = self.run.spec
        found = evaluate(
            self.held_out,
            spec=spec,
            policy=self.policy,
            generator=self.explorer.generator,
            rewards=self.explorer.rewards,
            discriminator=self.explorer.discriminator,
        )
        profile = found.profile(self.done)
        self.reporter.metrics(self.done, found.metrics() | (profile.metrics() if profile else {}))
        if profile is not None:
            folder = Path(self.run.run_dir) / "profile"
            save(profile, folder)
            draw(folder)
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
        folder = Path(self.run.run_dir) / "checkpoints"
        state = {"score_baseline": self.explorer.baseline.mean, "health": self.health.state()}
        judge = self.explorer.discriminator
        parts = {DISCRIMINATOR: judge.save} if isinstance(judge, LearnedDiscriminator) else {}
        saved = checkpoint.save(folder, self.policy, self.learner.optimizer, spec, self.done, state, parts)
        self.reporter.checkpoint(saved.step, saved.path, saved.manifest_sha256, saved.bytes)
        for step in checkpoint.prune(folder, spec.schedule.keep_checkpoints):
            self.reporter.checkpoint_deleted(step)
        self.reporter.phase("training")


def prepare(run: RunConfig, reporter: Reporter, signals: Signals, rewards: RewardPool) -> Trainer:
    """Load models and data, from the checkpoint where there is one to resume from.

    Raises:
        UniaplError: something the user named cannot be loaded or does not fit together.
    """
    spec = run.spec
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mix_rows, held_out_rows = _load_data(run, reporter, rewards)
    reporter.phase("loading_student")
    done = checkpoint.verify(Path(run.resume_from)) if run.resume_from else 0
    policy, reference = _load_student(run, device)
    learner = Learner(policy, spec, reference)
    mix = [
        _encode(rows, run, entry.dataset, policy, reporter)
        for rows, entry in zip(mix_rows, spec.dataset_mix, strict=True)
    ]
    held_out: list[EncodedRow] = []
    if spec.evaluation is not None:
        held_out = _encode(held_out_rows, run, spec.evaluation.dataset, policy, reporter)

    discriminator = None
    if spec.uses_discriminator:
        reporter.phase("loading_discriminator")
        discriminator = load_discriminator(spec, run, device)
    rollout = spec.rollout
    generator = TransformersGenerator(
        policy,
        temperature=rollout.temperature,
        max_new_tokens=rollout.max_new_tokens,
        batch_size=rollout.batch_size,
    )
    explorer = Explorer(spec, policy, generator, rewards, discriminator)
    health = HealthMonitor(spec.health)
    trainer = Trainer(run, reporter, signals, policy, learner, explorer, health, mix, held_out, done)
    if run.resume_from is not None:
        trainer.resume(Path(run.resume_from))
    return trainer


def _load_data(
    run: RunConfig, reporter: Reporter, rewards: RewardPool
) -> tuple[list[list[DatasetRow]], list[DatasetRow]]:
    """Rows of each entry of the mix and of the evaluation, with the teacher's answers where they lack references.

    Before anything large is loaded: what is wrong with the data is told within seconds.
    """
    spec = run.spec
    mix = [load_rows(run.dataset_path(entry.dataset)) for entry in spec.dataset_mix]
    check_mix(spec, [DatasetContents.of(rows) for rows in mix])
    held_out: list[DatasetRow] = []
    if spec.evaluation is not None:
        held_out = load_rows(run.dataset_path(spec.evaluation.dataset))[: spec.evaluation.rows]
    if spec.teacher.type == "openai":
        reporter.phase("asking_teacher")
        cache = run.teacher_cache_path()
        mix, held_out = fill_references(spec, mix, held_out, cache=cache, on_event=reporter.event)
    if spec.data.filter_teacher:
        entries = zip(mix, spec.dataset_mix, strict=True)
        mix = [_filter(rows, entry.dataset, rewards, reporter) for rows, entry in entries]
    return mix, held_out


def _filter(rows: list[DatasetRow], dataset: str, rewards: RewardPool, reporter: Reporter) -> list[DatasetRow]:
    kept, dropped = without_failing_references(rows, rewards)
    if dropped:
        reporter.event(
            f"{len(dropped)} of {len(rows)} references of {dataset} fail their own reward and are not used",
            rows=dropped[:20],
        )
    if not any(row.reference for row in kept) and any(row.reference for row in rows):
        raise DatasetError(
            f"no reference of {dataset} passes its own reward",
            param="data.filter_teacher",
            hint="look at the rewards, or set data.filter_teacher to false",
        )
    return kept


def _load_student(run: RunConfig, device: torch.device) -> tuple[Policy, Reference | None]:
    """The policy, with a checkpoint's weights where there is one to resume from; and what the KL penalty needs."""
    spec, resume = run.spec, Path(run.resume_from) if run.resume_from else None
    student = run.model_source(spec.student)
    start = ModelSource(path=str(resume)) if resume and not spec.lora else student
    policy = load_policy(start, device)
    if spec.data.chat_template is not None:
        policy = with_chat_template(policy, spec.data.chat_template)
    if spec.lora is not None:
        policy = with_lora(policy, spec.lora, seed=spec.seed)
        if resume is not None:
            load_adapter(policy.model, resume)
    if spec.grpo.kl_coef == 0:
        return policy, None
    if spec.lora is not None:
        return policy, Reference(policy.model, adapted=True)
    return policy, Reference(load_policy(student, device).model.requires_grad_(False), adapted=False)


def _encode(
    rows: list[DatasetRow], run: RunConfig, dataset: str, policy: Policy, reporter: Reporter
) -> list[EncodedRow]:
    usable, left_out = encode_rows(rows, run.dataset_path(dataset).name, policy, run.spec.data)
    if left_out:
        reporter.event(
            f"{len(left_out)} rows of {dataset} are longer than the limits in `data` and are left out",
            level="warning",
            rows=left_out[:20],
        )
    return usable


def log_environment() -> str:
    """One line for the trainer's log: process, threads, device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"trainer pid {os.getpid()}, torch {torch.__version__}, {device}"
