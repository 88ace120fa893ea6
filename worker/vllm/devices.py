"""CUDA_VISIBLE_DEVICES of trainers and servers, so that each uses the GPU that the plan of its memory counts it on.

Without it torch takes the fastest visible GPU, and the plan the largest one.
"""

from __future__ import annotations

from store.settings import Settings
from uniapl.estimate.placement import gpu_index
from uniapl.spec.estimate import Gpu, Process
from worker import hardware


def visible(settings: Settings, process: Process) -> dict[str, str]:
    """Variables that restrict a process to its GPUs, the planned one first; empty where nothing restricts it.

    GPUs are named by their UUIDs, which do not depend on the order of the numbers. CUDA sees one MIG slice at most.
    Where the setting selects no GPU, it is passed on unchanged: it hides the GPUs, or is reported by the trainer.
    """
    given = hardware.devices_setting(settings, process)
    gpus = [Gpu.model_validate(gpu) for gpu in hardware.gpus(settings)]
    allowed = [gpu for gpu in gpus if process in gpu.processes]
    if not allowed or any(gpu.uuid is None for gpu in allowed):
        return {"CUDA_VISIBLE_DEVICES": given, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if given else {}
    first = allowed[gpu_index(process, allowed)]
    names = [first.uuid or "", *(gpu.uuid or "" for gpu in allowed if gpu != first)]
    kind = names[0][:4]
    same = [name for name in names if name.startswith(kind)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(same[:1] if kind == "MIG-" else same), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
