"""Does it fit? The need at its three levels against what workers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uniapl.estimate.memory import Device
from uniapl.spec.estimate import Bytes, Hardware, Verdict


@dataclass(frozen=True)
class Need:
    """What a job needs where it would run."""

    total: Bytes
    device: Device


def device_of(hardware: Hardware) -> Device:
    """Where a job's models would lie."""
    return "gpu" if hardware.gpus else "cpu"


def capacity(hardware: Hardware) -> int:
    """Bytes that a job alone could have: of the machine, or of its largest accelerator.

    Which of several is a job's first is for the driver to say, and nothing is refused that one of them could hold.
    """
    return max((gpu.memory_bytes for gpu in hardware.gpus), default=hardware.memory_bytes)


def judge(needs: Sequence[tuple[Hardware, Need]]) -> tuple[Hardware, Verdict, str]:
    """The worker that suits best, the verdict on it, and that in words.

    Args:
        needs: every live worker with what the job would need there; at least one.
    """
    hardware, need = max(needs, key=lambda pair: capacity(pair[0]) - pair[1].total.expected)
    return hardware, *_verdict(hardware, need)


def _verdict(hardware: Hardware, need: Need) -> tuple[Verdict, str]:
    has, total = capacity(hardware), need.total
    where = "the largest worker's GPU" if need.device == "gpu" else "the largest worker"
    expected = f"{gigabytes(total.expected)} are expected, between {gigabytes(total.low)} and {gigabytes(total.high)}"
    if total.low > has:
        return "does_not_fit", f"it needs at least {gigabytes(total.low)}, and {where} has {gigabytes(has)}"
    if total.high > has:
        likely = "probably will" if total.expected > has else "may"
        return "tight", f"{expected}, and {where} has {gigabytes(has)}: it {likely} run out of memory"
    if hardware.slots * total.expected > has:
        return "tight", f"{expected}; {where} has {gigabytes(has)}, which {hardware.slots} jobs at once may share"
    return "fits", f"{expected}, and {where} has {gigabytes(has)}"


def gigabytes(size: int) -> str:
    """For people: `3.2 GB`."""
    return f"{size / 1e9:.1f} GB"
