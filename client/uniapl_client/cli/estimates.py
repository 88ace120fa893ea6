"""Text output of an estimate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uniapl_client import Estimate


def text(found: Estimate) -> str:
    """Verdict and reasons, rows and tokens, memory, time."""
    return "\n".join(_lines(found))


def _lines(found: Estimate) -> Iterator[str]:
    first, *others = found.reasons
    yield f"{found.verdict}: {first}"
    yield from others
    yield f"\n{'role':16}{'rows':>10}{'prompt tokens':>16}{'reference tokens':>18}{'passes':>9}{'skipped':>10}"
    for role in found.roles:
        tokens = f"{role.prompt_tokens:>16,}{role.reference_tokens:>18,}"
        yield f"{role.role:16}{role.rows:>10,}{tokens}{role.passes:>9.2f}{role.left_out:>10.0%}"
    if found.memory is not None:
        yield f"\n{f'GB on a {found.memory.device}':20}{'low':>6}{'expected':>16}{'high':>18}"
        servers = {f"{role} server": size for role, size in found.memory.servers.items()}
        for name, size in {**found.memory.parts, "total": found.memory.total, **servers}.items():
            yield f"{name:20}{size.low / 1e9:>6.2f}{size.expected / 1e9:>16.2f}{size.high / 1e9:>18.2f}"
    yield f"\n{found.steps:,} steps of {found.tokens_per_step:,} tokens, {found.rollouts_per_step:,} rollouts per step"
    time = found.time
    if time.step_s is not None and time.total_s is not None:
        about = "about " if time.rough else ""
        yield f"{about}{time.step_s:.1f} s per step, {timedelta(seconds=round(time.total_s))} in total; {time.basis}"
    else:
        yield f"time: {time.basis}"
