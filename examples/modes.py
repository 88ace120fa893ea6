"""Run of every example spec for three steps on a tiny random model through the service (`make modes`).

With one update per rollout, the values of the surrogates are near 0 by construction, because the weights of a group sum
to 0. Their gradients are not; the output contains the norms.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from uniapl_client import Client, JobFailed
from uniapl_client.spec_file import read_spec

from api.examples import MODES
from embedded.service import EmbeddedService

ROOT = Path(__file__).parent.parent
SHOWN = {
    "loss": "loss",
    "uniapl/loss_sft": "sft",
    "uniapl/loss_grpo": "grpo",
    "uniapl/loss_adv": "adv",
    "uniapl/grad_norm_sft": "|g_sft|",
    "uniapl/grad_norm_grpo": "|g_grpo|",
    "uniapl/grad_norm_adv": "|g_adv|",
}


def main() -> int:
    """Run all modes; return the exit status."""
    failures = 0
    with (
        TemporaryDirectory() as folder,
        EmbeddedService(Path(folder)) as service,
        Client(service.url, api_key=service.api_key) as client,
    ):
        dataset = client.datasets.upload(ROOT / "examples" / "data" / "chance.jsonl")  # random text gets some rewards
        for mode in MODES:
            spec = read_spec(ROOT / "examples" / f"{mode}.json")
            stages = [stage.model_copy(update={"steps": 2}) for stage in spec.schedule.stages]
            short = {"stages": stages, "steps": 2 * len(stages) or 3, "term_norms_every": 1}
            schedule = spec.schedule.model_copy(update=short)
            mix = [entry.model_copy(update={"dataset": dataset.id}) for entry in spec.dataset_mix]
            tiny = {
                "student": "tiny-random-llama",
                "dataset_mix": mix,
                "rollout": spec.rollout.model_copy(update={"max_new_tokens": 12}),
                "schedule": schedule,
                "evaluation": None,
            }
            try:
                job = client.jobs.wait(client.jobs.create(spec.model_copy(update=tiny)).id, timeout_s=120)
            except JobFailed as failed:
                failures += 1
                print(f"{mode:23} {failed}", flush=True)
                continue
            last = {p.name: p.value for p in client.jobs.metrics(job.id, names=list(SHOWN), since_step=job.steps - 1)}
            terms = "  ".join(f"{label} {last[name]:9.5f}" for name, label in SHOWN.items() if name in last)
            print(f"{mode:23} {job.state}  {job.step} steps  {terms}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
