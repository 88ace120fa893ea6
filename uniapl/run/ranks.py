"""A run is one process on one device. A launcher that starts several of it has each of them train the whole run."""

from __future__ import annotations

from collections.abc import Mapping

REMEDY = "start `python -m uniapl` once, without torchrun or another launcher, or unset WORLD_SIZE"


def launcher_problem(environment: Mapping[str, str]) -> str | None:
    """Why this process must not train: a launcher has announced more ranks than one. `None` when it may.

    An empty WORLD_SIZE counts as none.
    """
    given = environment.get("WORLD_SIZE", "").strip()
    if not given:
        return None
    try:
        ranks = int(given)
    except ValueError:
        return f"the environment variable WORLD_SIZE is {given!r}, which is no number of processes; {REMEDY}"
    if ranks == 1:
        return None
    return (
        f"the environment variable WORLD_SIZE is {ranks}, and a run trains in one process: "
        f"each of several would train the whole run in the same run_dir; {REMEDY}"
    )
