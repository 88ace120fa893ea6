"""Dataset rows: created once the data are complete, protected from deletion while a job may read them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.db import now
from store.errors import Conflict, NotFound
from store.states import TERMINAL
from store.stored_specs import names_dataset
from store.tables import Dataset, Job


def get(session: Session, dataset_id: str) -> Dataset:
    """One dataset.

    Raises:
        NotFound: there is none, or it has been deleted.
    """
    return _known(session.get(Dataset, dataset_id), dataset_id)


def use(session: Session, dataset_id: str) -> Dataset:
    """One dataset, locked against deletion until the session's transaction ends.

    Raises:
        NotFound: there is none, or it has been deleted.
    """
    return _known(session.get(Dataset, dataset_id, with_for_update={"read": True}), dataset_id)


def delete(session: Session, dataset_id: str) -> None:
    """Mark a dataset as deleted; the caller removes the file after the commit.

    Raises:
        NotFound: there is none.
        Conflict: an unfinished job uses it.
    """
    # A concurrent admission of a job has locked the row first, or sees it deleted: see `use`.
    dataset = _known(session.get(Dataset, dataset_id, with_for_update=True), dataset_id)
    for job_id, spec in session.execute(select(Job.id, Job.spec).where(Job.state.not_in(TERMINAL))):
        if names_dataset(spec, dataset_id):
            raise Conflict("dataset_in_use", f"unfinished job {job_id} uses dataset {dataset_id}; cancel the job first")
    dataset.deleted_at = session.scalar(select(now()))


def _known(dataset: Dataset | None, dataset_id: str) -> Dataset:
    if dataset is None or dataset.deleted_at is not None:
        raise NotFound("dataset", dataset_id)
    return dataset
