"""Load what a run needs: rows with the teacher's answers, the student, its judges, and what a checkpoint holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from uniapl.data.encoding import EncodedRow, encode_rows, load_rows
from uniapl.discriminators.load import discriminator_server, load_discriminator, managed_server
from uniapl.errors import DatasetError, SpecError
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.device import Found, find_device
from uniapl.model.kernels import kernels_for
from uniapl.model.layout_check import batch_dependence, with_layout
from uniapl.model.lora import load_adapter, with_lora
from uniapl.model.policy import Policy, Reference, load_policy, with_chat_template
from uniapl.rewards.gold_check import Checked, failing_references, row_name, unusable_golds
from uniapl.rewards.pool import RewardPool
from uniapl.rollout.generator import Generator
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.rollout.vllm import VllmGenerator
from uniapl.run import manifest
from uniapl.run.config import SAMPLER, ModelSource, RunConfig
from uniapl.run.credentials import Credentials
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals
from uniapl.spec.backend import VllmSampler
from uniapl.spec.dataset import DatasetRow
from uniapl.spec.importers.rows import IgnoredFields
from uniapl.spec.job import JobSpec, MixEntry
from uniapl.spec.requirements import DatasetContents, check_mix, uses_references
from uniapl.teachers.references import fill_references, without_failing_references
from uniapl.training import checkpoint
from uniapl.training.evaluation import Evaluation, evaluate
from uniapl.training.health import HealthMonitor
from uniapl.training.learner import Learner
from uniapl.training.rollout_collector import RolloutCollector
from uniapl.training.trainer import Trainer


def prepare(
    run: RunConfig, reporter: Reporter, signals: Signals, rewards: RewardPool, credentials: Credentials
) -> Trainer:
    """Load models and data, from the checkpoint where there is one to resume from.

    Raises:
        UniaplError: something the user named cannot be loaded or does not fit together; or torch cannot use the GPU.
    """
    spec = run.spec
    found = find_device()
    device = found.device
    kernels_for(device).prepare_process()
    mix_rows, held_out_rows = _load_data(run, reporter, signals, rewards, credentials)
    if (server := discriminator_server(spec, run) if spec.uses_discriminator else None) is not None:
        reporter.phase("warming_discriminator")
        server.wait()  # before the student takes memory that the server counts on
    _report_device(found, reporter)
    reporter.phase("loading_student")
    done = manifest.verify(Path(run.resume_from)) if run.resume_from else 0
    later = [step for step in manifest.steps_in(Path(run.run_dir) / "checkpoints") if step > done]
    if later:
        raise SpecError(
            f"{run.run_dir} holds a checkpoint of step {later[-1]} already, beyond step {done} where this run begins",
            param="run_dir",
            hint="resume from that checkpoint, or choose another run_dir",
        )
    policy, reference = _load_student(run, device)
    wrap_blocks(policy.model, spec.resources)
    policy, obstacle = with_layout(policy)
    if obstacle is not None:
        reporter.event(
            f"completions are trained without sharing their prompt, more slowly: {obstacle}", level="warning"
        )
    longest = spec.data.max_prompt_tokens + max(spec.data.max_reference_tokens, spec.rollout.max_new_tokens)
    if (dependence := batch_dependence(policy, longest)) is not None:
        reporter.event(
            f"the student's {dependence}, and this spec allows {longest}: samples and gradients then depend on how "
            "sequences are batched; lower data.max_prompt_tokens, data.max_reference_tokens and rollout.max_new_tokens",
            level="warning",
        )
    learner = Learner(policy, spec, reference)
    mix = [
        _encode(rows, run, entry.dataset, policy, reporter, references=uses_references(spec, entry.role))
        for rows, entry in zip(mix_rows, spec.dataset_mix, strict=True)
    ]
    _check_comparable(spec, mix)
    held_out: list[EncodedRow] = []
    if spec.evaluation is not None:
        held_out = _encode(held_out_rows, run, spec.evaluation.dataset, policy, reporter, references=True)

    discriminator = None
    if spec.uses_discriminator:
        reporter.phase("loading_discriminator")
        discriminator = load_discriminator(spec, run, device, server)
    generator = _generator(run, policy, reporter)
    collector = RolloutCollector(spec, policy, generator, rewards, discriminator)
    trainer = Trainer(
        run,
        reporter,
        signals,
        learner,
        collector,
        HealthMonitor(spec.health),
        partial(checkpoint.save, Path(run.run_dir) / checkpoint.FOLDER, policy, learner.optimizer, spec),
        _evaluation(held_out, collector) if held_out else None,
        mix,
        done,
    )
    if run.resume_from is not None:
        checkpoint.load_optimizer(Path(run.resume_from), policy, learner.optimizer)
        trainer.resume(Path(run.resume_from))
    return trainer


def _evaluation(held_out: list[EncodedRow], collector: RolloutCollector) -> Callable[[], Evaluation]:
    return partial(
        evaluate,
        held_out,
        spec=collector.spec,
        policy=collector.policy,
        generator=collector.generator,
        rewards=collector.rewards,
        discriminator=collector.discriminator,
    )


def _report_device(found: Found, reporter: Reporter) -> None:
    reporter.event(
        found.message,
        level="warning" if found.driver.problem else "info",
        device=found.device.type,
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=found.driver.version,
    )


def _generator(run: RunConfig, policy: Policy, reporter: Reporter) -> Generator:
    """The sampler; a server gets the weights that it begins with, and is waited for."""
    rollout = run.spec.rollout
    if isinstance(rollout.backend, VllmSampler):
        server = managed_server(run, "rollout", rollout.backend, param="rollout.backend")
        generator = VllmGenerator(policy, server, rollout, folder=Path(run.run_dir) / SAMPLER)
        reporter.phase("warming_sampler")
        server.wait()
        return generator
    return TransformersGenerator(
        policy,
        temperature=rollout.temperature,
        max_new_tokens=rollout.max_new_tokens,
        batch_size=rollout.batch_size,
    )


def _load_data(
    run: RunConfig, reporter: Reporter, signals: Signals, rewards: RewardPool, credentials: Credentials
) -> tuple[list[list[DatasetRow]], list[DatasetRow]]:
    """Rows of each entry of the mix and of the evaluation, with the teacher's answers where they lack references.

    Before anything large is loaded: what is wrong with the data is told within seconds.
    """
    spec = run.spec
    mix = [_load_rows(run, entry.dataset, reporter) for entry in spec.dataset_mix]
    check_mix(spec, [DatasetContents.of(rows) for rows in mix])
    verified = [spec.uses_grpo and entry.role in ("rl", "both") for entry in spec.dataset_mix]
    mix = [
        _without_unusable(rows, entry.dataset, rewards, reporter) if asked else rows
        for rows, entry, asked in zip(mix, spec.dataset_mix, verified, strict=True)
    ]
    held_out: list[DatasetRow] = []
    if spec.evaluation is not None:
        held_out = _load_rows(run, spec.evaluation.dataset, reporter)[: spec.evaluation.rows]
        held_out = _unrewarded_where_unusable(held_out, spec.evaluation.dataset, rewards, reporter)
    if spec.teacher.type == "openai":
        reporter.phase("asking_teacher")
        cache = run.teacher_cache_path()
        with signals.loading(abort=False):  # answers under way are paid for
            mix, held_out = fill_references(
                spec, mix, held_out, cache=cache, on_event=reporter.event, credentials=credentials
            )
    if spec.data.filter_teacher:
        entries = zip(mix, spec.dataset_mix, strict=True)
        mix = [_filter(rows, entry, spec, rewards, reporter) for rows, entry in entries]
    else:
        for rows, entry, asked in zip(mix, spec.dataset_mix, verified, strict=True):
            if asked:
                _report_references(rows, entry.dataset, rewards, reporter)
    return mix, held_out


def _load_rows(run: RunConfig, dataset: str, reporter: Reporter) -> list[DatasetRow]:
    ignored = IgnoredFields()
    rows = load_rows(run.dataset_path(dataset), ignored)
    if ignored.rows:
        names = ", ".join(list(ignored.rows)[:10])
        reporter.event(f"fields of {dataset} that are not read: {names}", dataset=dataset, ignored_fields=ignored.rows)
    return rows


def _without_unusable(
    rows: list[DatasetRow], dataset: str, rewards: RewardPool, reporter: Reporter
) -> list[DatasetRow]:
    """The rows whose gold answer can be judged; they keep the names that they have in the whole dataset.

    Raises:
        DatasetError: more than `reward.max_failed_fraction` of the rows are unusable, or all.
    """
    found = unusable_golds(rows, rewards)
    faults = [f"{row_name(rows[i], i)}: {why}" for i, why in found.faults.items()]
    if faults and (len(faults) > rewards.options.max_failed_fraction * len(rows) or len(faults) == len(rows)):
        raise DatasetError(
            f"{len(faults)} of {len(rows)} rows of {dataset} have a gold answer that no answer can equal: "
            f"{'; '.join(faults[:5])}",
            param="reward.max_failed_fraction",
            hint="write these golds as LaTeX, give these rows an `exact_match` reward, or raise "
            "reward.max_failed_fraction to leave more rows out",
        )
    _report_golds(found, rows, dataset, reporter, "the rows are left out")
    named = [row.model_copy(update={"id": row_name(row, i)}) for i, row in enumerate(rows)] if faults else rows
    return [row for i, row in enumerate(named) if i not in found.faults]


def _unrewarded_where_unusable(
    rows: list[DatasetRow], dataset: str, rewards: RewardPool, reporter: Reporter
) -> list[DatasetRow]:
    """Held-out rows, without the rewards that no answer can earn."""
    found = unusable_golds(rows, rewards)
    _report_golds(found, rows, dataset, reporter, "answers to the rows are not verified")
    return [row.model_copy(update={"reward": None}) if i in found.faults else row for i, row in enumerate(rows)]


def _report_golds(found: Checked, rows: list[DatasetRow], dataset: str, reporter: Reporter, then: str) -> None:
    if found.unchecked:
        reporter.event(f"the golds of {found.unchecked} rows of {dataset} were not checked")
    if not found.faults:
        return
    names = [row_name(rows[i], i) for i in found.faults]
    reporter.event(
        f"{len(names)} of {len(rows)} rows of {dataset} ({len(names) / len(rows):.1%}) have a gold answer that no "
        f"answer can equal, and {then}: {names[0]}: {next(iter(found.faults.values()))}",
        level="warning",
        rows=names[:20],
    )


def _report_references(rows: list[DatasetRow], dataset: str, rewards: RewardPool, reporter: Reporter) -> None:
    """Name the references that do not earn their own row's reward in full; they are used all the same."""
    found = failing_references(rows, rewards)
    if not found.faults:
        return
    names = [row_name(rows[i], i) for i in found.faults]
    unchecked = f" ({found.unchecked} more were not checked)" if found.unchecked else ""
    reporter.event(
        f"{len(names)} of {found.asked} references of {dataset} ({len(names) / found.asked:.1%}) fail their own "
        f"reward{unchecked}: {names[0]}: {next(iter(found.faults.values()))}. Correct the rewards or the references, "
        "or leave these references out with data.filter_teacher",
        level="warning",
        rows=names[:20],
    )


def _filter(
    rows: list[DatasetRow], entry: MixEntry, spec: JobSpec, rewards: RewardPool, reporter: Reporter
) -> list[DatasetRow]:
    """`without_failing_references`, and without the rows that then serve no term."""
    dataset = entry.dataset
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
    explored = spec.uses_grpo and entry.role in ("rl", "both")
    return kept if explored else [row for row in kept if row.reference]


def _check_comparable(spec: JobSpec, mix: list[list[EncodedRow]]) -> None:
    """Raises `SpecError` if filters and limits have left L_ADV nothing to compare with."""
    entries = zip(spec.dataset_mix, mix, strict=True)
    if spec.uses_adv and not any(
        row.reference for entry, rows in entries if entry.role in spec.compared_roles() for row in rows
    ):
        raise SpecError(
            "lambda_adv compares rollouts with references, and none is left within the limits",
            param="data.max_reference_tokens",
            hint="raise the limits in `data`, or set lambda_adv to 0",
        )


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
    rows: list[DatasetRow], run: RunConfig, dataset: str, policy: Policy, reporter: Reporter, *, references: bool
) -> list[EncodedRow]:
    name = run.dataset_path(dataset).name
    usable, left_out = encode_rows(rows, name, policy, run.spec.data, references=references)
    if left_out:
        reporter.event(
            f"{len(left_out)} rows of {dataset} are longer than the limits in `data` and are left out",
            level="warning",
            rows=left_out[:20],
        )
    if references:
        _report_reasoning(usable, dataset, reporter)
    return usable


def _report_reasoning(rows: list[EncodedRow], dataset: str, reporter: Reporter) -> None:
    """Which references are not trained as the dataset has them, because of where the template puts reasoning."""
    if ids := [row.id for row in rows if row.change == "left out"]:
        reporter.event(
            f"{len(ids)} references of {dataset} have reasoning before `</think>`, and the student's template opens "
            f"none: it is left out, and the answers alone are trained; first row {ids[0]}; to train it, set "
            "data.chat_template to a template whose generation prompt ends with `<think>`",
            level="warning",
            rows=ids[:20],
        )
    if ids := [row.id for row in rows if row.change == "closed"]:
        reporter.event(
            f"the student's template opens reasoning, and {len(ids)} references of {dataset} have none: the block is "
            "closed before them, so that the student learns to answer without reasoning",
            level="warning",
            rows=ids[:20],
        )


def log_environment() -> str:
    """One line for the trainer's log: process, threads, device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"trainer pid {os.getpid()}, torch {torch.__version__}, {device}"
