"""The resource estimate of a job before it is queued: rows, tokens, memory, time. No torch; formulas of our trainer.

`estimate_job` and `find_misfit` are the interface for services; the modules below are its parts.
"""

from uniapl.estimate.duration import MeasuredRate
from uniapl.estimate.job import JobInputs, estimate_job, find_misfit
from uniapl.estimate.model_shape import ShapeUnknown

__all__ = ["JobInputs", "MeasuredRate", "ShapeUnknown", "estimate_job", "find_misfit"]
