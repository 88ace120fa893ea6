"""Refusal of multi-process launchers: a run is one process on one device, and each process would train all of it."""

from __future__ import annotations

from collections.abc import Mapping

REMEDY = "start `python -m uniapl` once, without torchrun or another launcher, or unset WORLD_SIZE"


def launcher_problem(environment: Mapping[str, str]) -> str | None:
    """The problem with WORLD_SIZE, which a launcher sets to the number of processes; `None` for one process.

    An empty WORLD_SIZE counts as unset.
    """
    given = environment.get("WORLD_SIZE", "").strip()
    if not given:
        return None
    try:
        ranks = int(given)
    except ValueError:
        return f"the environment variable WORLD_SIZE is {given!r}, which is not a number of processes; {REMEDY}"
    if ranks == 1:
        return None
    return (
        f"the environment variable WORLD_SIZE is {ranks}, but a run trains in one process: "
        f"each process would train the whole run in the same run_dir; {REMEDY}"
    )
