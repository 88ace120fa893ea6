"""Assembly of a trainer from its run configuration: device, rows, models, servers and the resumed state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from uniapl.chat.template import TEMPLATE_ERRORS
from uniapl.data.encoded_row import EncodedRow
from uniapl.data.mixture import further_rows
from uniapl.discriminators.load import discriminator_server, load_discriminator, managed_server
from uniapl.errors import SpecError
from uniapl.estimate.resources import ChosenResources
from uniapl.inference.client import ModelServer
from uniapl.inference.endpoint import ProbePause, RestartRequest
from uniapl.model.block_wrappers import wrap_blocks
from uniapl.model.device import Found, find_device
from uniapl.model.kernels import kernels_for
from uniapl.model.layout_check import batch_dependence, slower, with_layout
from uniapl.model.lora import load_adapter, with_lora
from uniapl.model.policy import Policy, Reference, load_policy, load_reference, with_chat_template
from uniapl.rewards.pool import RewardPool
from uniapl.rollout.generator import Generator
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.rollout.truncation import Truncation
from uniapl.rollout.vllm import SamplerPlace, VllmGenerator
from uniapl.run import manifest
from uniapl.run.config import SAMPLER, ModelSource, RunConfig
from uniapl.run.credentials import Credentials
from uniapl.run.reporter import Reporter
from uniapl.run.signals import Signals
from uniapl.spec.backend import VllmSampler
from uniapl.spec.dead_options import dead_options
from uniapl.spec.job import JobSpec
from uniapl.training import checkpoint
from uniapl.training.device_resources import choose_resources
from uniapl.training.evaluation import Evaluation, evaluate
from uniapl.training.group_scoring import Prompt
from uniapl.training.health import HealthMonitor
from uniapl.training.learner import Learner
from uniapl.training.optimizer import require_library
from uniapl.training.resumed_spec import changed_fields
from uniapl.training.rollout_collector import RolloutCollector
from uniapl.training.rows import encode_data, load_data
from uniapl.training.trainer import Trainer


def prepare(
    run: RunConfig, reporter: Reporter, signals: Signals, rewards: RewardPool, credentials: Credentials
) -> Trainer:
    """Load models and data, from the checkpoint where there is one to resume from.

    Raises:
        UniaplError: something the user named cannot be loaded or does not fit together; or torch cannot use the GPU.
    """
    spec = run.spec
    require_library(spec.optimizer)
    for option in dead_options(spec):
        reporter.event(option, level="warning")
    found = find_device()
    kernels_for(found.device).prepare_process()
    mix_rows, held_out_rows = load_data(run, reporter, signals, rewards, credentials)
    server = _warm_discriminator(run, reporter)  # before the student takes memory that the server counts on
    _report_device(found, reporter)
    reporter.phase("loading_student")
    done = _first_step(run)
    for change in changed_fields(Path(run.resume_from), spec) if run.resume_from is not None else ():
        reporter.event(change, level="warning")
    policy, reference = _load_weights(run, found.device)
    _report_end_of_turn(policy, reporter)
    resources = choose_resources(run, policy, reporter)
    policy = _with_fastest_forward(policy, spec, resources, reporter)
    learner = Learner(
        policy,
        spec,
        reference,
        resources.micro_batch_tokens,
        partial(_report_halved, reporter),
        offload=_shares_gpu(run, policy),
    )
    if run.resume_from is not None:
        checkpoint.load_optimizer(Path(run.resume_from), policy, learner.optimizer)
        learner.free_for_sampling()  # a sampling server on the same GPU is about to start
    mix, held_out = encode_data(run, policy, mix_rows, held_out_rows, reporter)
    discriminator = None
    if spec.uses_discriminator:
        reporter.phase("loading_discriminator")
        discriminator = load_discriminator(spec, run, found.device, server)
    collector = RolloutCollector(spec, policy, _generator(run, policy, reporter, done), rewards, discriminator)
    collector.further = partial(_further_prompts, spec, mix)
    trainer = Trainer(
        run,
        reporter,
        signals,
        learner,
        collector,
        HealthMonitor(spec.health),
        partial(checkpoint.save, Path(run.run_dir) / checkpoint.FOLDER, policy, learner.optimizer, spec),
        _evaluation(held_out, collector, learner, reporter) if held_out else None,
        mix,
        done,
    )
    if run.resume_from is not None:
        trainer.resume(Path(run.resume_from))
    return trainer


def _evaluation(
    held_out: list[EncodedRow], collector: RolloutCollector, learner: Learner, reporter: Reporter
) -> Callable[[], Evaluation]:
    return lambda: evaluate(
        held_out,
        spec=collector.spec,
        policy=collector.policy,
        generator=collector.generator,
        rewards=collector.rewards,
        discriminator=collector.discriminator,
        micro_batch_tokens=learner.micro_batch_tokens,
        progress=reporter.progress,
    )


def _further_prompts(spec: JobSpec, mix: list[list[EncodedRow]], step: int) -> Iterator[Prompt]:
    """Prompts for dynamic sampling; L_ADV compares the step's own prompts only, which keeps its balance."""
    for entry, index in further_rows(
        step,
        mix=spec.dataset_mix,
        sizes=[len(rows) for rows in mix],
        prompts_per_step=spec.schedule.prompts_per_step,
        seed=spec.seed,
    ):
        yield Prompt(mix[entry][index], explored=True, compared=False)


def _shares_gpu(run: RunConfig, policy: Policy) -> bool:
    """Whether a sampler uses the GPU in turn with the trainer."""
    return run.shared_card and policy.device.type == "cuda"


def _report_halved(reporter: Reporter, step: int, old: int, new: int) -> None:
    reporter.event(
        f"out of memory in step {step + 1}: the step is computed again with resources.micro_batch_tokens {new} instead "
        f"of {old}; the gradient is the same, the update is slower",
        level="warning",
        step=step + 1,
        old=old,
        new=new,
    )


def _warm_discriminator(run: RunConfig, reporter: Reporter) -> ModelServer | None:
    """The discriminator's server once it is ready; `None` where the discriminator runs in this process."""
    server = discriminator_server(run.spec, run) if run.spec.uses_discriminator else None
    if server is not None:
        reporter.phase("warming_discriminator")
        server.wait()
    return server


def _first_step(run: RunConfig) -> int:
    """Updates that the checkpoint to resume from has; 0 without one.

    Raises:
        CheckpointError: the checkpoint is incomplete.
        SpecError: the run directory has a later checkpoint.
    """
    done = manifest.verify(Path(run.resume_from)) if run.resume_from else 0
    later = [step for step in manifest.steps_in(Path(run.run_dir) / checkpoint.FOLDER) if step > done]
    if later:
        raise SpecError(
            f"{run.run_dir} already holds a checkpoint of step {later[-1]}, beyond step {done} where this run begins",
            param="run_dir",
            hint="resume from that checkpoint, or choose another run_dir",
        )
    return done


def _report_device(found: Found, reporter: Reporter) -> None:
    reporter.event(
        found.message,
        level="warning" if found.driver.problem else "info",
        device=found.device.type,
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=found.driver.version,
    )


def _report_end_of_turn(policy: Policy, reporter: Reporter) -> None:
    """Report an end of turn that is not among the student's end tokens; broken templates are reported with the rows."""
    try:
        problem = policy.declare_end_of_turn() if policy.tokenizer.chat_template is not None else None
    except TEMPLATE_ERRORS:
        return
    if problem is not None:
        reporter.event(problem, level="warning")


def _generator(run: RunConfig, policy: Policy, reporter: Reporter, done: int) -> Generator:
    """The sampler; a server gets the weights that it begins with, those of `done` updates, and is waited for."""
    rollout = run.spec.rollout
    if run.spec.samples and isinstance(rollout.backend, VllmSampler):
        server = managed_server(run, "rollout", rollout.backend, param="rollout.backend")
        address, report = Path(run.servers["rollout"]), partial(reporter.event, level="warning")
        place = SamplerPlace(ProbePause(address), RestartRequest(address), report, run.shared_card)
        folder = Path(run.run_dir) / SAMPLER
        generator = VllmGenerator(policy, server, rollout, folder=folder, place=place, version=done)
        reporter.phase("warming_sampler")
        server.wait()
        return generator
    return TransformersGenerator(
        policy,
        temperature=rollout.temperature,
        max_new_tokens=rollout.max_new_tokens,
        batch_size=rollout.batch_size,
        truncation=Truncation.of(rollout),
        stop=rollout.stop,
        on_batch=reporter.progress,
    )


def _with_fastest_forward(policy: Policy, spec: JobSpec, resources: ChosenResources, reporter: Reporter) -> Policy:
    """The policy with wrapped blocks, in its fastest layout."""
    wrap_blocks(policy.model, resources)
    policy, obstacle = with_layout(policy)
    if obstacle is not None:
        reporter.event(slower(policy.layout, obstacle), level="warning")
    data, sampled = spec.data, spec.rollout.max_new_tokens
    longest = data.max_prompt_tokens + max(data.max_reference_tokens, sampled)
    if (limit := batch_dependence(policy, longest)) is not None:
        reporter.event(
            f"the student's {limit}, and this spec allows {longest}: samples and gradients then depend on how "
            "sequences are batched; lower data.max_prompt_tokens, data.max_reference_tokens and rollout.max_new_tokens",
            level="warning",
        )
    return policy


def _load_weights(run: RunConfig, device: torch.device) -> tuple[Policy, Reference | None]:
    """The policy with the checkpoint's weights where the run resumes, and the reference policy."""
    spec, resume = run.spec, Path(run.resume_from) if run.resume_from else None
    student = run.model_source(spec.student)
    start = ModelSource(path=str(resume)) if resume and not spec.lora else student
    policy = load_policy(start, device)
    if resume is not None and spec.lora is None:
        checkpoint.load_master(resume, policy)
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
    return policy, load_reference(student, device)


def log_environment() -> str:
    """One line for the trainer's log: process, threads, device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"trainer pid {os.getpid()}, torch {torch.__version__}, {device}"
