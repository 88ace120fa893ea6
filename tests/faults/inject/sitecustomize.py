"""Loaded by every Python process of a faulty cluster: kills it at a chosen function, and swaps in the scripted trainer.

UNIAPL_TEST_DIE_AT = "module:function:before|after:nth:marker"   die with SIGKILL at that call, once in all (the marker)
UNIAPL_TEST_STOP_AT                                              the same, and stop with SIGSTOP
UNIAPL_TEST_SABOTAGE = "name"                                    see `SABOTAGES`: faults that the campaign must notice
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], None]
_hooks: dict[str, list[Hook]] = {}


class _Finder(MetaPathFinder):
    """Runs a hook right after a module has been executed, before its importers can take names from it."""

    def __init__(self) -> None:
        self._busy: set[str] = set()

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in _hooks or name in self._busy:
            return None
        self._busy.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy.discard(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for hook in _hooks[name]:
                hook(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _strike_at(point: str, number: signal.Signals) -> None:
    module, function, when, nth, marker = point.split(":", 4)
    calls = 0

    def strike() -> None:
        nonlocal calls
        calls += 1
        if calls != int(nth):
            return
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # it has happened in another process
            return
        os.kill(os.getpid(), number)

    def install(found: ModuleType) -> None:
        *owners, name = function.split(".")
        owner: Any = found
        for part in owners:
            owner = getattr(owner, part)
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                strike()
            result = original(*args, **kwargs)
            if when == "after":
                strike()
            return result

        setattr(owner, name, wrapped)

    _hooks.setdefault(module, []).append(install)


def _swap_trainer(supervisor: ModuleType) -> None:
    supervisor.TRAINER = (sys.executable, "-m", "tests.faults.trainer")  # type: ignore[attr-defined]


def _writes_name_no_fence(claims: ModuleType) -> None:
    """What a holder writes no longer names its fence …"""
    from sqlalchemy import update

    from store.tables import Job

    def unfenced(session: Any, claim: Any, **values: Any) -> Any:
        statement = update(Job).where(Job.id == claim.job_id).values(**values).returning(Job.event_seq)
        return session.execute(statement.execution_options(synchronize_session=False)).one()

    claims._write = unfenced  # type: ignore[attr-defined]


def _ends_name_no_fence(jobs: ModuleType) -> None:
    """… nor does the transition that ends an attempt."""

    def unfenced(session: Any, job_id: str, fence: int, transition: Any, *guards: Any, **values: Any) -> None:
        jobs._move(session, job_id, transition, *guards, **jobs._RELEASED, **values)

    jobs._leave = unfenced  # type: ignore[attr-defined]


def _leftovers_survive(recovery: ModuleType) -> None:
    """The process group of the previous attempt is not killed."""
    recovery.kill_leftover_processes = lambda attempt: None  # type: ignore[attr-defined]


def _claim_ignores_state(jobs: ModuleType) -> None:
    """A job can be claimed while another worker holds it: the state is dropped from the claim's UPDATE."""
    from dataclasses import replace

    from store import states

    states.CLAIM = replace(states.CLAIM, sources=(states.State.QUEUED, *states.ACTIVE))


SABOTAGES: dict[str, dict[str, Hook]] = {
    "no-fence": {"store.jobs.claims": _writes_name_no_fence, "store.jobs.lifecycle": _ends_name_no_fence},
    "claim-ignores-state": {"store.jobs.lifecycle": _claim_ignores_state},
    "nobody-is-buried": {"worker.recovery": _leftovers_survive},
}

if os.environ.get("UNIAPL_TEST_SCRIPTED"):
    _hooks.setdefault("worker.attempt", []).append(_swap_trainer)
if point := os.environ.get("UNIAPL_TEST_DIE_AT"):
    _strike_at(point, signal.SIGKILL)
if point := os.environ.get("UNIAPL_TEST_STOP_AT"):
    _strike_at(point, signal.SIGSTOP)
if sabotage := os.environ.get("UNIAPL_TEST_SABOTAGE"):
    for where, hook in SABOTAGES[sabotage].items():
        _hooks.setdefault(where, []).append(hook)
if _hooks:
    sys.meta_path.insert(0, _Finder())
