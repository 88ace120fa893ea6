"""Jobs for tests of the store and its users: created, claimed, given back."""

from __future__ import annotations

from sqlalchemy import Engine

from store.db import unit_of_work
from store.jobs import events, lifecycle
from store.jobs.claims import Claim
from store.states import State
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec, MixEntry

SPEC = JobSpec(student="tiny", dataset_mix=[MixEntry(dataset="ds_1")])
ERROR = {"code": "trainer_crashed", "message": "it crashed", "category": "internal", "log_tail": "…"}


def make_job(engine: Engine) -> str:
    with unit_of_work(engine) as session:
        return lifecycle.create(session, SPEC, {"tiny": ModelSource(path="/models/tiny")}).id


def try_claim(engine: Engine, job_id: str, *, owner: str = "worker_a", lease_s: float = 60.0) -> Claim | None:
    with unit_of_work(engine) as session:
        return lifecycle.claim(session, job_id, owner=owner, host="h", boot_id="b", lease_s=lease_s)


def claimed(engine: Engine, job_id: str) -> Claim:
    claim = try_claim(engine, job_id)
    assert claim is not None
    return claim


def state(engine: Engine, job_id: str) -> State:
    with unit_of_work(engine) as session:
        return State(lifecycle.get(session, job_id).state)


def history(engine: Engine, job_id: str) -> list[tuple[int, str]]:
    with unit_of_work(engine) as session:
        return [(e.seq, e.message) for e in events.after(session, job_id, 0, 100)]


def given_back(engine: Engine, claim: Claim) -> State:
    with unit_of_work(engine) as session:
        lifecycle.preempt(session, claim, "stopping")
    return state(engine, claim.job_id)
