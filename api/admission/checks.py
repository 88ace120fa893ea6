"""The admission checks of a job spec, in one order for `POST /jobs`, `/jobs/validate` and `/jobs/estimate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from sqlalchemy.orm import Session

from api.admission import estimate, lookup
from api.admission.server_policy import check_discriminator, check_teacher, need_secret
from api.auth import Caller
from uniapl.errors import UniaplError
from uniapl.estimate import Excess
from uniapl.run.config import ModelSource
from uniapl.spec.job import JobSpec
from uniapl.spec.requirements import mix_problems


class Checks:
    """Generators of a spec's problems. Each stage assumes the one before it; `POST /jobs` raises the first problem.

    The stages differ in the transaction that they run in: `remote` may wait for a resolver or a model hub, and
    `capacity` for the bucket, so neither may hold a transaction open; `stored` can lock the rows that it checks.
    """

    def __init__(self, caller: Caller, spec: JobSpec) -> None:
        self._caller, self._spec = caller, spec
        self.models: dict[str, ModelSource] = {}
        """Location of each model of the spec, by its name; complete once `remote` has yielded nothing."""
        self.beyond_positions: Excess | None = None
        """Sequences beyond the student's positions, as `capacity` finds them."""

    def remote(self) -> Iterator[UniaplError]:
        """The addresses of model servers and the names of models."""
        service, spec = self._caller.service, self._spec
        yield from _raised_by(partial(check_teacher, service.settings, spec))
        yield from _raised_by(partial(check_discriminator, service.settings, spec))
        yield from _raised_by(self._find_student)
        yield from _raised_by(self._find_discriminator)

    def stored(self, session: Session, *, hold: bool = False) -> Iterator[UniaplError]:
        """Datasets and secrets; with `hold` they cannot be deleted before the session's transaction ends."""
        spec = self._spec
        contents = []
        for param, name in lookup.mixed(spec):
            try:
                contents.append(lookup.contents(session, name, param, hold=hold))
            except UniaplError as error:
                yield error
        if len(contents) == len(spec.dataset_mix):
            yield from mix_problems(spec, contents)
        if spec.evaluation is not None:
            held_out = spec.evaluation.dataset
            yield from _raised_by(partial(lookup.find_dataset, session, held_out, "evaluation.dataset", hold=hold))
        yield from _raised_by(partial(need_secret, session, spec))

    def capacity(self) -> Iterator[UniaplError]:
        """Whether the student has the positions, and a live worker the memory and vLLM; after all other checks."""
        self.beyond_positions = estimate.beyond_positions(self._caller, self._spec, self.models)
        if self.beyond_positions is not None and self.beyond_positions.fails:
            yield self.beyond_positions.error
        misfit = estimate.misfit(self._caller, self._spec, self.models)
        if misfit is not None:
            yield misfit

    def _find_student(self) -> None:
        self.models |= lookup.find_student(self._caller.service.registry, self._spec.student)
        lookup.check_sampler(self._spec, self.models[self._spec.student])

    def _find_discriminator(self) -> None:
        self.models |= lookup.find_discriminator(self._caller.service.registry, self._spec)


def raise_first(problems: Iterable[UniaplError]) -> None:
    """Raise the first problem, if there is one; later checks do not run."""
    for problem in problems:
        raise problem


def _raised_by(check: Callable[[], object]) -> Iterator[UniaplError]:
    try:
        check()
    except UniaplError as error:
        yield error
