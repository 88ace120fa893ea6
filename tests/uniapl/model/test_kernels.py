"""The kernels of a device: those of a CPU are never loaded by a run elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from tests.conftest import MODELS, ROOT
from uniapl.model.kernels import kernels_for

pytestmark = pytest.mark.integration

STEP = f"""
import json, sys
from dataclasses import replace

import torch

import uniapl.__main__, uniapl.training.setup
from uniapl.batching.batch import Sequence
from uniapl.batching.packing import Layout
from uniapl.model import kernels
from uniapl.model.policy import load_policy
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.training.learner import Learner

cpu = torch.device("cpu")
spec = JobSpec(student="tiny", dataset_mix=[{{"dataset": "d"}}], alpha=0.5, lambda_adv=0.1)
rollout = Sequence([5, 6, 7], [8, 9], advantage=1.0, coef=0.5, old_logprobs=[-7.0, -7.0])
sequences = [Sequence([5, 6, 7], [8, 9, 10], demonstration=True), rollout]

def step():
    policy = load_policy(ModelSource(path={str(MODELS / "tiny-random-llama")!r}), cpu)
    kernels.kernels_for(cpu).prepare_process()
    learner = Learner(replace(policy, layout=Layout("rows")), spec)
    metrics = learner.update(sequences, 0, measure_terms=False)
    return metrics["loss"], metrics["grad_norm"], any(name.startswith("uniapl.model.cpu") for name in sys.modules)

kernels.SELECTED["cpu"] = replace(kernels.kernels_for(torch.device("cuda")), precision=torch.float32)
portable = step()
del kernels.SELECTED["cpu"]
print(json.dumps([portable, step()]))
"""


def test_a_step_with_the_kernels_of_a_gpu_loads_none_of_a_cpu() -> None:
    """CPU tensors, and the kernels that CUDA selects; then the same step with a CPU's own."""
    command = [sys.executable, "-c", STEP]
    portable, own = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout)
    assert (portable[2], own[2]) == (False, True)
    assert portable[:2] == pytest.approx(own[:2], rel=1e-4)


def test_a_gpu_and_a_cpu_have_their_own_layouts_of_shared_prompts() -> None:
    layouts = {kind: kernels_for(torch.device(kind)).layout for kind in ("cpu", "cuda")}
    assert {kind: layout.kind for kind, layout in layouts.items()} == {"cpu": "trees", "cuda": "blocks"}


def test_attention_to_trees_is_refused_where_there_is_no_kernel_for_it() -> None:
    states = torch.zeros(1, 1, 1, 1)
    with pytest.raises(NotImplementedError, match="layout 'trees' needs a CPU"):
        kernels_for(torch.device("cuda")).tree_attention(states, states, states, torch.zeros(1, 1, 2, 1), 1.0)
