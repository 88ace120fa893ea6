"""A vLLM server as a worker manages it, with the sampler that a trainer uses."""

from __future__ import annotations

import _thread
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from store.settings import Settings
from uniapl.inference.client import ModelServer
from uniapl.inference.endpoint import Address, ProbePause, RestartRequest, read_address
from uniapl.model.policy import Policy
from uniapl.rollout.vllm import SamplerPlace, VllmGenerator
from uniapl.run.config import SAMPLER, ModelSource
from uniapl.spec.backend import VllmSampler
from uniapl.spec.job import JobSpec
from worker import process
from worker.vllm.command import Plan, plans
from worker.vllm.server import Sidecar

POLL_S = 0.1


@dataclass
class Served:
    """A running server."""

    generator: VllmGenerator
    plan: Plan
    sidecar: Sidecar
    warnings: list[str]
    """Warnings that the sampler adds to a run's events."""
    start_s: float
    """Seconds from the command to the first reply."""

    @property
    def address(self) -> Address:
        """The address of the server's present life."""
        found = read_address(self.sidecar.address_file)
        assert found is not None, "the worker writes the address before the server is ready"
        return found

    @property
    def transport(self) -> str:
        """Name of the transport of weights in use."""
        return type(self.generator._transports[0]).__name__


@contextmanager
def served(
    policy: Policy, spec: JobSpec, settings: Settings, *, shared_card: bool, other_card: bool = False
) -> Iterator[Served]:
    """Start a server for the policy, and stop it at the end.

    Args:
        policy: the student.
        spec: a job whose sampler is a managed vLLM server.
        settings: the vLLM command and the time limits.
        shared_card: whether server and trainer use one GPU.
        other_card: whether each uses a GPU of its own.

    Raises:
        RuntimeError: the server does not start.
    """
    backend, warnings = spec.rollout.backend, list[str]()
    assert isinstance(backend, VllmSampler)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cards = {"shared_card": shared_card, "other_card": other_card}
        found = plans(spec, {spec.student: ModelSource(path=name)}, folder, {}, folder, **cards)
        sidecar = Sidecar(found["rollout"], settings, folder / "server", threading.Lock())
        server = ModelServer(lambda: read_address(sidecar.address_file), backend, param="rollout.backend")
        address = sidecar.address_file
        place = SamplerPlace(ProbePause(address), RestartRequest(address), warnings.append, shared_card)
        generator = VllmGenerator(policy, server, spec.rollout, folder=folder / SAMPLER, place=place)
        started = time.monotonic()
        sidecar.start()
        try:
            await_ready(sidecar)
            threading.Thread(target=interrupt_if_it_fails, args=(sidecar,), daemon=True).start()
            yield Served(generator, found["rollout"], sidecar, warnings, time.monotonic() - started)
        except KeyboardInterrupt:
            raise RuntimeError(fault(sidecar)) from None
        finally:
            sidecar.stop()
            server.close()


def await_ready(sidecar: Sidecar) -> None:
    """Wait for the first reply. Raises `RuntimeError` with the end of the server's log if it does not start."""
    while sidecar.state in ("waiting", "starting"):
        time.sleep(POLL_S)
    if sidecar.state == "failed":
        raise RuntimeError(fault(sidecar))


def interrupt_if_it_fails(sidecar: Sidecar) -> None:
    """Interrupt the main thread when the server has failed: its requests would wait for a restart."""
    while sidecar.state == "ready":
        time.sleep(POLL_S)
    if sidecar.state == "failed":
        _thread.interrupt_main()


def fault(sidecar: Sidecar) -> str:
    """The fault of a failed server, and the end of its log; all of the log is written to standard error."""
    print(sidecar.log.read_text(errors="replace"), file=sys.stderr)
    return f"the server {sidecar.problem}: {process.tail(sidecar.log)[-400:]}"
