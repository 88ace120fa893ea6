"""GPUs that CUDA_VISIBLE_DEVICES selects."""

from __future__ import annotations

import pytest

from uniapl.run.gpus import PhysicalGpu
from uniapl.run.visible_gpus import select

pytestmark = pytest.mark.unit


def gpu(number: int, uuid: str | None, slice: int | None = None) -> PhysicalGpu:
    return PhysicalGpu(number, "G", 1, 1, uuid, "9.0", slice)


PLAIN = [gpu(0, "GPU-aa11"), gpu(1, "GPU-ab22"), gpu(2, "GPU-b333")]
SLICED = [gpu(0, "MIG-11", 0), gpu(0, "MIG-12", 1), gpu(1, "GPU-ab22")]


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["GPU-aa11", "GPU-ab22", "GPU-b333"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["GPU-b333", "GPU-aa11"]),
        (" 2, 0", ["GPU-b333", "GPU-aa11"]),
        ("1x,2", ["GPU-ab22", "GPU-b333"]),
        ("2,7,0", ["GPU-b333"]),
        ("2,-1,0", ["GPU-b333"]),
        ("0,0", []),
        ("GPU-b333", ["GPU-b333"]),
        ("GPU-b,GPU-aa", ["GPU-b333", "GPU-aa11"]),
        ("GPU-b,GPU-a", ["GPU-b333"]),
        ("GPU-a", []),
        ("GPU-b,GPU-b3", []),
        ("GPU-ff,GPU-b", []),
        ("GPU-b,0", ["GPU-b333"]),
        ("MIG-11", []),
    ],
)
def test_gpus_are_selected_as_cuda_does(visible: str | None, found: list[str]) -> None:
    assert [gpu.uuid for gpu in select(PLAIN, visible)] == found


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["MIG-11", "MIG-12", "GPU-ab22"]),
        ("0", ["MIG-11"]),
        ("1,0", ["GPU-ab22", "MIG-11"]),
        ("MIG-12", ["MIG-12"]),
        ("MIG-12,MIG-11", ["MIG-12", "MIG-11"]),
        ("MIG-1", []),
        ("MIG-12,GPU-ab22", ["MIG-12"]),
    ],
)
def test_slices_take_the_place_of_a_gpu_in_mig_mode(visible: str | None, found: list[str]) -> None:
    assert [gpu.uuid for gpu in select(SLICED, visible)] == found


def test_a_gpu_without_uuid_has_its_number_only() -> None:
    assert select([gpu(0, None)], "GPU-a") == []
    assert len(select([gpu(0, None)], "0")) == 1
