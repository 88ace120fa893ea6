"""Demo of a UniAPL job on real weights (`make demo`): upload, training, evaluation, download of the checkpoint.

The exit status is 0 only if the job succeeds, the checkpoint loads in a new process, and the log-probability of the
held-out references increases.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from uniapl_client import Client, Job, JobFailed, Sample
from uniapl_client.spec_file import read_spec
from uniapl_client.watch import watch

from embedded.service import EmbeddedService, interrupt
from uniapl.spec.job import JobSpec
from uniapl.spec.weights import format_weight

Change = tuple[Sample, Sample]
"""Samples of one row before and after training."""

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "data" / "demo"
SPEC = ROOT / "examples" / "uniapl.json"

ROWS = {  # metric: label, format
    "eval/reward": ("reward (share of constraints followed)", ".3f"),
    "eval/reference_logprob": ("log-prob of the reference (nats per token)", ".4f"),
    "eval/score": ("discriminator score (cosine to the reference)", ".3f"),
    "eval/completion_length": ("completion length (tokens)", ".1f"),
    "eval/reference_length": ("  the teacher's", ".1f"),
}

RELOAD = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
prompt = [{"role": "user", "content": sys.argv[2]}]
inputs = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=32, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def main() -> int:
    """Run the demo; return the exit status."""
    signal.signal(signal.SIGTERM, interrupt)
    console = Console()
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        console.print("starting the embedded service (SQLite, one API process, one worker process)")
        with EmbeddedService(FOLDER) as service, Client(service.url, api_key=service.api_key) as client:
            console.print(f"listening on {service.url}, logs in {FOLDER.relative_to(ROOT)}/logs")
            job = _train(service, client, console)
            improved = _report(client, job, console)
            reloads = _reload(client, job, console)
    except KeyboardInterrupt:
        console.print("interrupted; all processes are stopped")
        return 130
    except RuntimeError as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        return 1
    except JobFailed as failed:
        console.print(f"error: {failed}", markup=False, soft_wrap=True)
        if failed.job.error:
            console.print(failed.job.error.log_tail, markup=False, soft_wrap=True)
        return 1
    console.print(f"\n{time.monotonic() - started:.0f} s in total")
    if not improved:
        console.print("error: the log-probability of the held-out references did not increase")
    return 0 if improved and reloads else 1


def _train(service: EmbeddedService, client: Client, console: Console) -> Job:
    job = client.jobs.create(_with_all_samples(read_spec(SPEC, client)))
    spec = job.spec
    console.print(
        f"{job.id}: {spec.student}, alpha={format_weight(spec.alpha)}, lambda_adv={format_weight(spec.lambda_adv)}, "
        f"{spec.schedule.steps} steps of {spec.schedule.prompts_per_step} prompts x {spec.grpo.group_size} rollouts",
        soft_wrap=True,
    )
    return watch(client, job.id, console, check=service.check)


def _with_all_samples(spec: JobSpec) -> JobSpec:
    """The spec with samples of all held-out rows, to select the most and least improved ones."""
    assert spec.evaluation is not None
    evaluation = spec.evaluation.model_copy(update={"samples": spec.evaluation.rows})
    return spec.model_copy(update={"evaluation": evaluation})


def _report(client: Client, job: Job, console: Console) -> bool:
    """Print metrics and samples before and after training; return whether the reference log-probability increased."""
    points = {(p.name, p.step): p.value for p in client.jobs.metrics(job.id, names=list(ROWS))}
    count = job.spec.evaluation.rows if job.spec.evaluation else 0
    table = Table(f"{count} held-out rows", "before", "after", title="before → after")
    for name, (label, style) in ROWS.items():
        table.add_row(label, format(points[name, 0], style), format(points[name, job.steps], style))
    console.print(table)
    before = client.jobs.samples(job.id, step=0)
    after = client.jobs.samples(job.id, step=job.steps)
    most, least = extremes(before, after)
    _print_change(console, f"most improved of {len(before)} rows", most)
    _print_change(console, f"least improved of {len(before)} rows", least)
    for picture in sorted(FOLDER.glob(f"jobs/{job.id}/fence-*/profile/profile.png"))[-1:]:
        text = f"\nlengths and log-probabilities compared with the teacher's: {picture.relative_to(ROOT)}"
        console.print(text, soft_wrap=True)
    name = "eval/reference_logprob"
    return points[name, job.steps] > points[name, 0]


def _print_change(console: Console, title: str, change: Change) -> None:
    old, new = change
    numbers = [("reward", old.reward, new.reward), ("score", old.score, new.score)]
    gains = ", ".join(f"{name} {a:.2f} → {b:.2f}" for name, a, b in numbers if a is not None and b is not None)
    lines = {"prompt": old.prompt, "teacher": old.reference, "before": old.completion, "after": new.completion}
    text = "\n".join([f"\n{title}: {gains}", *(f"{label:10} {line}" for label, line in lines.items())])
    console.print(text, markup=False, soft_wrap=True, highlight=False)


def extremes(before: Sequence[Sample], after: Sequence[Sample]) -> tuple[Change, Change]:
    """Samples of the most and the least improved row, before and after training.

    Ordered by the change of the reward, then of the discriminator score.
    """

    def gain(change: Change) -> tuple[float, float]:
        old, new = change
        return (new.reward or 0.0) - (old.reward or 0.0), (new.score or 0.0) - (old.score or 0.0)

    ordered = sorted(zip(before, after, strict=True), key=gain)
    return ordered[-1], ordered[0]


def _reload(client: Client, job: Job, console: Console) -> bool:
    """Download the newest checkpoint, load it with transformers in a new process, and generate an answer."""
    newest = client.jobs.checkpoints(job.id)[0]
    folder = client.checkpoints.download(newest.id, FOLDER / "checkpoint")
    prompt = client.jobs.samples(job.id, step=0)[0].prompt
    command = [sys.executable, "-c", RELOAD, str(folder), prompt]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        console.print(f"error: the checkpoint cannot be loaded:\n{result.stderr[-2000:]}", markup=False, soft_wrap=True)
        return False
    text = f"\n{newest.id} (step {newest.step}) loaded with transformers from {folder.relative_to(ROOT)}:"
    console.print(text, soft_wrap=True)
    console.print(result.stdout.strip(), markup=False, soft_wrap=True, highlight=False)
    return True


if __name__ == "__main__":
    sys.exit(main())
