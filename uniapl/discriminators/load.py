"""The discriminator that a job asks for."""

from __future__ import annotations

from pathlib import Path

import torch

from uniapl.discriminators.base import Discriminator
from uniapl.discriminators.embedding import EmbeddingDiscriminator
from uniapl.discriminators.learned import LearnedDiscriminator
from uniapl.discriminators.polar import PolarDiscriminator
from uniapl.discriminators.remote import RemoteEmbedding, RemotePolar
from uniapl.errors import SpecError
from uniapl.inference.client import ModelServer
from uniapl.inference.endpoint import Address, read_address
from uniapl.run.config import RunConfig
from uniapl.spec.backend import ExternalServer, InProcess, ManagedVllm
from uniapl.spec.job import JobSpec

BACKEND = "discriminator.backend"


def load_discriminator(
    spec: JobSpec, run: RunConfig, device: torch.device, server: ModelServer | None = None
) -> Discriminator:
    """Load it by its `type`; a learned one starts untrained, and `load` takes up a checkpoint's.

    Args:
        spec: the job.
        run: where its model is.
        device: where to run it.
        server: what runs it instead; see `discriminator_server`.

    Raises:
        ModelError: its model cannot be loaded.
        ServerError: its server has another model, or does not answer.
    """
    chosen = spec.discriminator
    source = run.model_source(chosen.model or spec.student)
    match chosen.type:
        case "embedding":
            if server is not None:
                limit = chosen.backend.max_model_tokens if isinstance(chosen.backend, ManagedVllm) else None
                return RemoteEmbedding(source, server, batch_size=chosen.batch_size, max_tokens=limit)
            return EmbeddingDiscriminator(source, batch_size=chosen.batch_size, device=device)
        case "polar":
            if server is not None:
                api = chosen.backend.api if isinstance(chosen.backend, ExternalServer) else "vllm"
                return RemotePolar(source, server, api=api, wrapper=chosen.wrapper, batch_size=chosen.batch_size)
            return PolarDiscriminator(source, wrapper=chosen.wrapper, batch_size=chosen.batch_size, device=device)
        case "learned":
            return LearnedDiscriminator(source, options=chosen, seed=spec.seed, device=device)


def discriminator_server(spec: JobSpec, run: RunConfig) -> ModelServer | None:
    """The server of a discriminator that does not run in this process.

    Raises:
        SpecError: it should be started by a worker, and there is none.
    """
    chosen = spec.discriminator
    if chosen.type == "learned" or isinstance(chosen.backend, InProcess):
        return None
    if isinstance(chosen.backend, ManagedVllm):
        return managed_server(run, "discriminator", chosen.backend, param=BACKEND)
    fixed = Address(model=chosen.backend.served_model or chosen.model, url=chosen.backend.url)
    return ModelServer(lambda: fixed, chosen.backend, param=f"{BACKEND}.url")


def managed_server(run: RunConfig, role: str, options: ManagedVllm, *, param: str) -> ModelServer:
    """The server that the worker has started for this run.

    Raises:
        SpecError: there is no worker.
    """
    if role not in run.servers:
        raise SpecError(
            "a `vllm` backend is started by the service's worker, and this run has none",
            param=param,
            hint="run it as a job of the service, or start the server yourself and name its `url`",
        )
    path = Path(run.servers[role])
    return ModelServer(lambda: read_address(path), options, param=param)
