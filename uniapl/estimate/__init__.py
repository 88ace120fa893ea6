"""The resource estimate of a job before it is queued: rows, tokens, memory, time. No torch; formulas of our trainer.

The names below are the interface for services; the modules below are its parts.
"""

from uniapl.estimate.ability import takes
from uniapl.estimate.checkpoint_size import checkpoint_bytes
from uniapl.estimate.duration import MeasuredRate
from uniapl.estimate.job import JobInputs, estimate_job, find_misfit, find_refused_sampler
from uniapl.estimate.libraries import missing_library
from uniapl.estimate.model_shape import ShapeUnknown
from uniapl.estimate.positions import Excess
from uniapl.estimate.sampler import (
    SamplerChoice,
    choose_sampler,
    missing_vllm,
    refused_sampler,
    refuses_sampler,
    vllm_obstacle,
)
from uniapl.estimate.shares import adversarial_share

__all__ = [
    "Excess",
    "JobInputs",
    "MeasuredRate",
    "SamplerChoice",
    "ShapeUnknown",
    "adversarial_share",
    "checkpoint_bytes",
    "choose_sampler",
    "estimate_job",
    "find_misfit",
    "find_refused_sampler",
    "missing_library",
    "missing_vllm",
    "refused_sampler",
    "refuses_sampler",
    "takes",
    "vllm_obstacle",
]
