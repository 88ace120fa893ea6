"""Jobs that the tests of the stack interrupt."""

from __future__ import annotations

import re

from uniapl_client import Client

from tests.e2e.conftest import CHANCE, wait_for
from tests.engine.conftest import SPEC


def create(client: Client, steps: int) -> str:
    """A job on the tiny model; returns its id."""
    schedule = {"steps": steps, "prompts_per_step": 1, "checkpoint_every": 5}
    dataset = client.datasets.upload(CHANCE)
    return client.jobs.create(**{**SPEC, "schedule": schedule}, dataset_mix=[{"dataset": dataset.id}]).id


def start(client: Client, steps: int, after: int = 3) -> str:
    """A job on the tiny model that has made some of its steps; returns its id."""
    job_id = create(client, steps)
    wait_for(lambda: client.jobs.get(job_id).step >= after, timeout_s=300)
    return job_id


def pause(client: Client, job_id: str) -> int:
    """Pause a job; returns the step after which it stopped."""
    client.jobs.pause(job_id)
    wait_for(lambda: client.jobs.get(job_id).state == "paused", timeout_s=120)
    return client.jobs.get(job_id).step


def resumptions(client: Client, job_id: str) -> list[int]:
    """The steps after which attempts at a job resumed."""
    messages = [event.message for event in client.jobs.list_events(job_id)]
    return [int(found[1]) for message in messages if (found := re.fullmatch(r"resumed after step (\d+)", message))]
