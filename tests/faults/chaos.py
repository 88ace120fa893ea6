"""`make chaos FAULTS=200 SEED=1`: a seeded random campaign over concurrent jobs, checked at the end.

The last line is the verdict; the exit status is 1 when an invariant is violated, a job is lost, or more steps are lost
than lie between two checkpoints. With `--sabotage` the service is crippled on purpose, and the campaign must notice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from uniapl_client.errors import UniaplClientError

from store.states import TERMINAL
from store.tables import Job
from tests.conftest import MODELS, ROOT
from tests.e2e.conftest import CHANCE
from tests.faults.campaign import Breaker, Fault, schedule
from tests.faults.cluster import Cluster, expected_weights, job_of

INTERVAL = 5
STEPS = 200
"""Of a scripted job: half a minute, so that a worker frozen inside a transaction still has it when another comes."""
IN_FLIGHT = 4
WORKERS = ("worker", "worker-2")
REAL_EVERY = 10
"""Every so many jobs, one runs the real trainer on a tiny model."""
REAL = {
    "student": "tiny-random-llama",
    "alpha": 0.3,
    "lambda_adv": 0.01,
    "grpo": {"group_size": 4},
    "rollout": {"max_new_tokens": 8},
    "discriminator": {"type": "embedding", "model": "all-MiniLM-L6-v2"},
    "optimizer": {"learning_rate": 1e-3},
    "schedule": {"steps": 20, "prompts_per_step": 2, "checkpoint_every": INTERVAL, "eval_every": 1000},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Break a running service at random, and see whether it holds.")
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sqlite", action="store_true", help="SQLite and the message folder, not Postgres and Redis")
    parser.add_argument("--sabotage", help="cripple the service: a name in tests/faults/inject/sitecustomize.py")
    parser.add_argument("--dry-run", action="store_true", help="print the schedule only")
    arguments = parser.parse_args()
    if arguments.dry_run:
        for number, fault in enumerate(_plan(arguments), start=1):
            print(f"{number:4d}  {fault.kind:16}pick {fault.pick:.3f}  lasts {fault.lasts_s:.2f} s")
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="uniapl-chaos-")))
        os.chmod(folder, 0o755)  # Postgres runs as a user of its own
        return _campaign(arguments, folder, stack)


def _campaign(arguments: argparse.Namespace, folder: Path, stack: ExitStack) -> int:
    disk = _small_disk(folder / "data" / "jobs", stack)
    environment = {
        "UNIAPL_HANG_MIN_S": "5",
        "UNIAPL_GARBAGE_S": "5",
        "UNIAPL_WORKER_SLOTS": str(IN_FLIGHT),  # either worker can take over all that the other loses
        "UNIAPL_TEST_STEP_S": "0.15",
    }
    if arguments.sabotage:
        environment["UNIAPL_TEST_SABOTAGE"] = arguments.sabotage
    cluster = Cluster(folder, postgres=not arguments.sqlite, environment=environment)
    breaker = Breaker(cluster, WORKERS, disk)
    plan = _plan(arguments)
    stack.enter_context(cluster)
    for name in WORKERS[1:]:
        cluster.start_worker(name)
    real = _uninterrupted(folder) if arguments.faults >= REAL_EVERY else None
    jobs, watch = _Jobs(cluster, real is not None), _Watch(cluster)
    for number, fault in enumerate(plan, start=1):
        jobs.top_up()
        breaker.strike(fault)
        print(f"{number:4d}  {fault.kind:16}{jobs.summary()}", flush=True)
    lost = jobs.finish()
    watch.stop()
    found = cluster.findings()
    if real is not None:
        found.violations += jobs.wrong_weights(real)
    for line in (*found.violations, *watch.violations, *lost):
        print(line)
    print("  ".join(f"{kind}={count}" for kind, count in sorted(breaker.struck.items())))
    print(f"zombies={breaker.zombies}")
    if breaker.skipped:
        print(f"skipped, since they need root and tmpfs: {breaker.skipped}")
    violations, lost_jobs = len(found.violations) + len(watch.violations), len(found.lost_jobs) + len(lost)
    print(
        f"faults={sum(breaker.struck.values())} violations={violations} lost_jobs={lost_jobs} "
        f"max_lost_steps={found.max_lost_steps} checkpoint_interval={INTERVAL}"
    )
    return 1 if violations or lost_jobs or found.max_lost_steps > INTERVAL else 0


def _plan(arguments: argparse.Namespace) -> list[Fault]:
    return schedule(arguments.faults, arguments.seed, servers=not arguments.sqlite)


class _Jobs:
    """Keeps some jobs in flight, and sees them all to their end."""

    def __init__(self, cluster: Cluster, real: bool) -> None:
        self._cluster, self._real, self._submitted = cluster, real, 0

    def top_up(self) -> None:
        deadline = time.monotonic() + 60
        while len(self._open()) < IN_FLIGHT:
            fields = dict(REAL) if self._real and self._submitted % REAL_EVERY == 1 else {"seed": self._submitted}
            if "student" in fields:
                fields["dataset_mix"] = [{"dataset": self._cluster.dataset}]
            try:
                self._cluster.submit(steps=STEPS, checkpoint_every=INTERVAL, **fields)
                self._submitted += 1
            except UniaplClientError as error:  # refused, so nothing was promised
                if time.monotonic() > deadline:
                    raise
                print(f"      not accepted: {error}")
                time.sleep(0.5)

    def finish(self) -> list[str]:
        """Wait for all; returns what became of those that did not succeed."""
        deadline = time.monotonic() + 300
        while self._open() and time.monotonic() < deadline:
            self._cluster.restart_dead(lambda text: None)
            for job in self._open():
                if job.state == "paused":  # the client could not reach the API to resume it
                    self._cluster.client.jobs.resume(job.id)
            time.sleep(0.5)
        jobs = [self._cluster.job(job_id) for job_id in sorted(self._cluster.accepted)]
        return [f"{job.id}: {job.state} {job.error}" for job in jobs if job.state != "succeeded"]

    def summary(self) -> str:
        counts = Counter(self._cluster.job(job_id).state for job_id in self._cluster.accepted)
        return "  ".join(f"{state} {count}" for state, count in sorted(counts.items()))

    def wrong_weights(self, expected: bytes) -> list[str]:
        """Real jobs whose result is not the uninterrupted run's, to the byte."""
        wrong = []
        for job_id in self._cluster.accepted:
            job = self._cluster.job(job_id)
            if expected_weights(job) is None and job.state == "succeeded":
                newest = self._cluster.client.jobs.checkpoints(job_id)[0]
                target = self._cluster.client.checkpoints.download(newest.id, self._cluster.data_dir / "taken" / job_id)
                if (target / "model.safetensors").read_bytes() != expected:
                    wrong.append(f"I6: {job_id} differs from an uninterrupted run")
        return wrong

    def _open(self) -> list[Job]:
        jobs = (self._cluster.job(job_id) for job_id in self._cluster.accepted)
        return [job for job in jobs if job.state not in TERMINAL]


class _Watch:
    """Looks all the time whether a job has two living trainers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._done = threading.Event()
        self.violations: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        suspects: set[str] = set()
        while not self._done.wait(0.3):
            counts = Counter(job_of(process) for process in self._cluster.trainers())
            double = {job for job, count in counts.items() if count > 1}
            self.violations += [f"I5: {job} has two trainers at once" for job in sorted(double & suspects)]
            suspects = double


def _uninterrupted(folder: Path) -> bytes:
    """Result of the real trainer on `REAL` without faults."""
    run_dir = folder / "uninterrupted"
    run_dir.mkdir()
    models = {name: {"path": str(MODELS / name.lower())} for name in ("tiny-random-llama", "all-MiniLM-L6-v2")}
    spec = {**REAL, "dataset_mix": [{"dataset": str(CHANCE)}]}
    (run_dir / "run.json").write_text(json.dumps({"spec": spec, "run_dir": str(run_dir), "models": models}))
    command = [sys.executable, "-m", "uniapl", "train", str(run_dir / "run.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return (run_dir / "checkpoints" / "step-00000020" / "model.safetensors").read_bytes()


def _small_disk(folder: Path, stack: ExitStack) -> Path | None:
    """A file system that can be filled without harm; needs root."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return None
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "none", str(folder)], check=False)
    if mounted.returncode != 0:
        return None
    stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)
    return folder


if __name__ == "__main__":
    sys.exit(main())
