"""The run's resources: the spec's values, completed from the memory of the GPU that the trainer has."""

from __future__ import annotations

import math
import os
import shutil

import torch

from uniapl.estimate import plan
from uniapl.estimate.model_shape import ModelShape, ShapeUnknown, from_config, read_shape
from uniapl.estimate.resources import ChosenResources, GpuRoom, choose, reasons
from uniapl.model.block_wrappers import decoder_blocks
from uniapl.model.policy import Policy
from uniapl.run.config import RunConfig
from uniapl.run.reporter import Reporter


def choose_resources(run: RunConfig, policy: Policy, reporter: Reporter) -> ChosenResources:
    """The resources of a run whose student is loaded; an event reports the values that the spec leaves open.

    A student whose shape is unknown gets the smallest passes. A discriminator whose files are not on this machine is
    not counted.
    """
    spec, room = run.spec, _room(run, policy.device)
    options = {"blocks": bool(decoder_blocks(policy.model)), "compiler": has_compiler()}
    try:
        chosen = plan.resources(spec, plan.Models(_shape(policy), _judge(run)), room, **options)
    except ShapeUnknown:
        chosen = choose(spec, room, lambda _: math.inf, **options)
    given = spec.resources
    if None in (given.micro_batch_tokens, given.gradient_checkpointing, given.compile_blocks):
        reporter.event(f"resources: {reasons(spec, chosen, room)}", **vars(chosen))
    return chosen


def has_compiler() -> bool:
    """Whether Triton finds a C compiler, by the rules of `triton.runtime.build`."""
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


def _room(run: RunConfig, device: torch.device) -> GpuRoom | None:
    """What the worker leaves to the trainer; without servers on the same GPU what is free, with this process's part."""
    if device.type != "cuda":
        return None
    if run.trainer_memory is not None:
        return GpuRoom(run.trainer_memory, shared=run.awake_server)
    free, _ = torch.cuda.mem_get_info(device)
    return GpuRoom(free + torch.cuda.memory_reserved(device))


def _shape(policy: Policy) -> ModelShape:
    """The student's shape; adapters count separately."""
    parameters = sum(p.numel() for name, p in policy.model.named_parameters() if "lora_" not in name)
    return from_config(policy.model.config.to_dict(), parameters=parameters)


def _judge(run: RunConfig) -> ModelShape | None:
    if not run.spec.loads_discriminator:
        return None
    try:
        return read_shape(run.model_source(run.spec.discriminator.model or run.spec.student))
    except ShapeUnknown:
        return None
