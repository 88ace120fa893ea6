"""Which checkpoints stay, and what alias, deletion and resumption do to each other, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from store.checkpoints import aliases, retention
from store.checkpoints import repository as checkpoints
from store.db import unit_of_work
from store.errors import Conflict, NotFound
from store.jobs import claims, lifecycle, metrics
from store.jobs.claims import Claim
from store.tables import Alias, Attempt, Checkpoint, Job
from tests.store.jobs.factories import ERROR, claimed, given_back, make_job

pytestmark = pytest.mark.integration

ROUNDS = 10


def save(engine: Engine, claim: Claim, *steps: int) -> list[str]:
    """Record checkpoints; returns their ids."""
    with unit_of_work(engine) as session:
        for step in steps:
            path = f"p{step}-{claim.fence}"
            checkpoints.commit(session, claim.job_id, claim.fence, step=step, path=path, manifest_sha256="x", size=1)
        return [row.id for row in reversed(checkpoints.of_job(session, claim.job_id)) if row.step in steps]


def measure(engine: Engine, job_id: str, name: str, values: dict[int, float]) -> None:
    with unit_of_work(engine) as session:
        metrics.put_metrics(session, job_id, 1, [(name, step, value) for step, value in values.items()])


def resume(session: Session, claim: Claim, *, broken: str | None = None) -> str | None:
    """Choose what to resume from, as `worker.recovery` does it."""
    claims.update_job(session, claim)
    chosen = None
    for row in checkpoints.of_job(session, claim.job_id):
        if row.id != broken:
            chosen = row.id
            break
        checkpoints.mark_deleted(session, row)
    claims.update_attempt(session, claim.job_id, claim.fence, resumed_from=chosen)
    return chosen


def expire(engine: Engine, job_id: str, keep: int) -> list[int]:
    """Returns the steps that stay; what goes and what stays is all there was."""
    with unit_of_work(engine) as session:
        before = {row.step for row in checkpoints.of_job(session, job_id)}
        gone = {row.step for row in retention.expire(session, job_id, keep)}
    with unit_of_work(engine) as session:
        left = {row.step for row in checkpoints.of_job(session, job_id)}
    assert gone | left == before
    assert not gone & left
    return sorted(left)


def test_the_newest_stay(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    save(engine, claim, 1, 2, 3, 4, 5)
    assert expire(engine, claim.job_id, 2) == [4, 5]
    assert expire(engine, claim.job_id, 2) == [4, 5]


@pytest.mark.parametrize("name", retention.QUALITY)
def test_the_best_stays_too_and_of_equals_the_later(engine: Engine, name: str) -> None:
    claim = claimed(engine, make_job(engine))
    save(engine, claim, 1, 2, 3, 4, 5)
    measure(engine, claim.job_id, name, {0: 9.0, 1: 0.2, 2: 0.7, 3: 0.7, 4: 0.1, 5: 0.3})
    assert expire(engine, claim.job_id, 1) == [3, 5]


def test_the_reward_decides_before_the_likeness_to_the_reference(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    save(engine, claim, 1, 2, 3, 4)
    measure(engine, claim.job_id, "eval/reference_logprob", {1: -1.0, 2: -2.0, 3: -3.0, 4: -4.0})
    measure(engine, claim.job_id, "eval/reward", {2: 0.5, 3: 0.1})
    assert expire(engine, claim.job_id, 1) == [2, 4]


def test_what_an_alias_names_stays_until_it_names_another(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    first, second = save(engine, claim, 1, 2)[:2]
    save(engine, claim, 3, 4)
    with unit_of_work(engine) as session:
        aliases.promote(session, "served", first, 0)
    assert expire(engine, claim.job_id, 2) == [1, 3, 4]
    with unit_of_work(engine) as session, pytest.raises(Conflict, match="served"):
        retention.delete(session, first)
    with unit_of_work(engine) as session, pytest.raises(NotFound):
        aliases.promote(session, "other", second, 0)  # it has gone
    with unit_of_work(engine) as session:
        aliases.promote(session, "served", checkpoints.of_job(session, claim.job_id)[0].id, 1)
    assert expire(engine, claim.job_id, 2) == [3, 4]


def test_what_the_running_attempt_has_begun_from_stays_until_it_ends(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    (first,) = save(engine, claim, 1)
    given_back(engine, claim)
    claim = claimed(engine, claim.job_id)
    with unit_of_work(engine) as session:
        assert resume(session, claim) == first
    save(engine, claim, 2, 3)
    assert expire(engine, claim.job_id, 1) == [1, 3]
    with unit_of_work(engine) as session, pytest.raises(Conflict, match="resumes"):
        retention.delete(session, first)
    given_back(engine, claim)
    claim = claimed(engine, claim.job_id)
    with unit_of_work(engine) as session:
        resume(session, claim)
    assert expire(engine, claim.job_id, 1) == [3]


def test_a_job_that_is_not_over_keeps_its_newest_checkpoint(engine: Engine) -> None:
    claim = claimed(engine, make_job(engine))
    older, newest = save(engine, claim, 1, 2)
    with unit_of_work(engine) as session, pytest.raises(Conflict, match="resumes"):
        retention.delete(session, newest)
    with unit_of_work(engine) as session:
        assert retention.delete(session, older).id == older
    with unit_of_work(engine) as session:
        lifecycle.fail(session, claim.job_id, claim.fence, ERROR)
    with unit_of_work(engine) as session:
        retention.delete(session, newest)
    for deleted in (older, newest):
        with unit_of_work(engine) as session, pytest.raises(NotFound):
            retention.delete(session, deleted)


def together(*actions: Callable[[], object]) -> list[object]:
    """What each returns, or the refusal it raises, when all begin at once."""
    barrier = threading.Barrier(len(actions))
    answers: list[object] = [None] * len(actions)

    def run(index: int) -> None:
        barrier.wait()
        try:
            answers[index] = actions[index]()
        except Exception as error:  # noqa: BLE001  (judged by the test)
            answers[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def promotion(engine: Engine, checkpoint_id: str, seen: int) -> Callable[[], int]:
    def promote() -> int:
        with unit_of_work(engine) as session:
            return aliases.promote(session, "served", checkpoint_id, seen).version

    return promote


@pytest.mark.parametrize("seen", [0, 1])
def test_of_fifty_who_have_seen_the_same_version_one_wins(engine: Engine, seen: int) -> None:
    claim = claimed(engine, make_job(engine))
    ids = save(engine, claim, *range(51))
    if seen:
        promotion(engine, ids[50], 0)()
    answers = together(*(promotion(engine, checkpoint_id, seen) for checkpoint_id in ids[:50]))
    assert [answer for answer in answers if not isinstance(answer, Conflict)] == [seen + 1]
    winner = ids[answers.index(seen + 1)]
    with unit_of_work(engine) as session:
        alias = aliases.get(session, "served")
        assert (alias.checkpoint_id, alias.version) == (winner, seen + 1)
    assert promotion(engine, winner, seen)() == seen + 1  # asked again, it changes nothing
    with pytest.raises(Conflict, match=f"at version {seen + 1}"):
        promotion(engine, ids[50], seen)()


@pytest.mark.parametrize("seen", [0, 1])
def test_fifty_who_ask_for_the_same_all_get_it_once(engine: Engine, seen: int) -> None:
    claim = claimed(engine, make_job(engine))
    wanted, other = save(engine, claim, 1, 2)
    if seen:
        promotion(engine, other, 0)()
    assert together(*[promotion(engine, wanted, seen)] * 50) == [seen + 1] * 50
    assert promotion(engine, wanted, seen + 1)() == seen + 1


def over(engine: Engine, steps: Sequence[int]) -> tuple[str, list[str]]:
    """A finished job, and its checkpoints."""
    claim = claimed(engine, make_job(engine))
    ids = save(engine, claim, *steps)
    with unit_of_work(engine) as session:
        lifecycle.fail(session, claim.job_id, claim.fence, ERROR)
    return claim.job_id, ids


def deletion(engine: Engine, checkpoint_id: str) -> Callable[[], str]:
    def delete() -> str:
        with unit_of_work(engine) as session:
            return retention.delete(session, checkpoint_id).id

    return delete


def referred_to_and_gone(engine: Engine) -> list[str]:
    """Deleted checkpoints that an alias or an attempt names: there must be none."""
    with unit_of_work(engine) as session:
        gone = Checkpoint.deleted_at.is_not(None)
        named = select(Alias.checkpoint_id).join(Checkpoint).where(gone)
        resumed = select(Attempt.resumed_from).join(Checkpoint, Checkpoint.id == Attempt.resumed_from).where(gone)
        running = resumed.join(Job, (Job.id == Attempt.job_id) & (Job.fence == Attempt.fence))
        return [str(found) for query in (named, running) for found in session.scalars(query)]


def test_a_checkpoint_is_deleted_or_promoted_but_not_both(engine: Engine) -> None:
    for _ in range(ROUNDS):
        _, (checkpoint,) = over(engine, [1])
        with unit_of_work(engine) as session:
            found = session.get(Alias, ("default", "served"))
            seen = found.version if found else 0
        told = together(deletion(engine, checkpoint), promotion(engine, checkpoint, seen))
        assert [isinstance(answer, Exception) for answer in told] in ([True, False], [False, True]), told
        assert all(isinstance(answer, str | int | Conflict | NotFound) for answer in told), told
        assert referred_to_and_gone(engine) == []


def test_a_checkpoint_is_deleted_or_resumed_from_but_not_both(engine: Engine) -> None:
    for _ in range(ROUNDS):
        claim = claimed(engine, make_job(engine))
        older, newest = save(engine, claim, 1, 2)
        given_back(engine, claim)
        claim = claimed(engine, claim.job_id)

        def choose(claim: Claim = claim, newest: str = newest) -> str | None:
            with unit_of_work(engine) as session:
                return resume(session, claim, broken=newest)

        told = together(deletion(engine, older), choose)
        assert isinstance(told[0], Conflict) == (told[1] == older), told
        assert told[1] in (older, None), told
        assert referred_to_and_gone(engine) == []


def test_two_who_delete_the_same_are_told_that_it_is_gone(engine: Engine) -> None:
    for _ in range(ROUNDS):
        _, (checkpoint,) = over(engine, [1])
        told = together(deletion(engine, checkpoint), deletion(engine, checkpoint))
        assert sorted(type(answer) for answer in told if isinstance(answer, Exception)) == [NotFound], told


@pytest.mark.parametrize("remove", ["expire", "delete"])
def test_what_is_promoted_while_it_is_being_removed_is_there_or_refused(engine: Engine, remove: str) -> None:
    job_id, (first, _) = over(engine, [1, 2])
    promote = promotion(engine, first, 0)
    told: list[object] = []
    thread = threading.Thread(target=lambda: told.extend(together(promote)))

    def begin_to_promote(*arguments: object) -> None:
        if "UPDATE checkpoints" in str(arguments[2]) and not thread.ident:  # decided, and not yet written
            thread.start()
            thread.join(0.3)

    event.listen(engine, "before_cursor_execute", begin_to_promote)
    with unit_of_work(engine) as session:
        if remove == "expire":
            retention.expire(session, job_id, 1)
        else:
            retention.delete(session, first)
    thread.join()
    assert isinstance(told[0], NotFound)
    assert referred_to_and_gone(engine) == []
