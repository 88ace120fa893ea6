"""A long evaluation or step in the trainer's process is not hung: the batches that it samples are progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from store.settings import Settings
from uniapl.model.policy import Policy
from uniapl.rollout.transformers import TransformersGenerator
from uniapl.run.reporter import Reporter
from worker.watchdog import Watchdog

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("phase", ["evaluating", "training"])
def test_sampled_batches_are_progress(policy: Policy, tmp_path: Path, phase: Any) -> None:
    """Each of the model's forwards takes a second; a batch takes 8, sampling 48, and the limit is 20."""
    now, hung, path = [0.0], list[str | None](), tmp_path / "reports.jsonl"
    dog = Watchdog(path, Settings(phase_limit_s=20, hang_min_s=20, hang_factor=2), clock=lambda: now[0])

    def second(*_: Any) -> None:
        now[0] += 1
        hung.append(dog.check())

    hook = policy.model.register_forward_hook(second)
    policy.model.generation_config.eos_token_id = None
    with Reporter(path, clock=lambda: now[0]) as reporter:
        reporter.phase(phase)
        generator = TransformersGenerator(
            policy, temperature=1.0, max_new_tokens=8, batch_size=1, on_batch=reporter.progress
        )
        generator.sample([[5, 6 + i] for i in range(6)], group_size=1, seed=0)
        assert path.read_text().count("\n") == 4  # the start, and every second batch
        reporter.metrics(1, {"loss": 1.0})
        dog.check()
    hook.remove()
    assert now[0] == 48
    assert not any(hung)
    if phase == "training":
        assert dog.limit_s == pytest.approx(2 * 48, abs=2)  # twice the whole step
