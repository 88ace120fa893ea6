"""Example specs of the OpenAPI document, one per mode, read from `examples/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODES = {
    "uniapl": "Imitation, exploration and the adversarial term in one gradient.",
    "sft": "Imitation only.",
    "grpo": "Exploration only.",
    "a_sft": "Imitation, with rollouts pulled towards the teacher.",
    "a_grpo": "Exploration, with rollouts pulled towards the teacher.",
    "chord_mu": "CHORD: imitation fades out while exploration fades in.",
    "chord_phi": "CHORD: a little imitation of uncertain tokens, beside exploration.",
    "a_chord": "CHORD, with rollouts pulled towards the teacher.",
    "sft_then_grpo": "Two stages: imitation, then exploration.",
    "a_sft_then_a_grpo": "Two stages, each with rollouts pulled towards the teacher.",
    "discriminator_as_reward": "A control: the discriminator's score inside the reward.",
    "paper_guess": "Raw scores as coefficients, for comparison only.",
}
_FOLDER = Path(__file__).parent.parent / "examples"

JOB_EXAMPLES: dict[str, Any] = {
    mode: {"summary": summary, "value": json.loads((_FOLDER / f"{mode}.json").read_text())}
    for mode, summary in MODES.items()
}
