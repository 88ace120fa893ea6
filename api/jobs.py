"""Jobs as the API answers them: the row, with what can be said of its future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from api.deps import Service
from store.jobs import forecast as outlook
from store.tables import Job as Row
from uniapl.spec.resources import Job


def to_jobs(session: Session, rows: Sequence[Row], service: Service) -> list[Job]:
    """In their order."""
    found = {row.id: Job.model_validate(row) for row in rows}
    specs = {row.id: (row, found[row.id].spec) for row in rows}
    expected = outlook.of(session, specs, service.settings.lease_s)
    return [found[row.id].model_copy(update=asdict(expected[row.id])) for row in rows]


def to_job(session: Session, row: Row, service: Service) -> Job:
    """One of them."""
    [found] = to_jobs(session, [row], service)
    return found
