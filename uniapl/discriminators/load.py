"""Construction of a job's discriminator from its spec."""

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
    """Load the discriminator by its `type`; a learned one starts untrained, until `Discriminator.load`.

    Args:
        spec: the job.
        run: source of the model.
        device: device of an in-process model.
        server: server of a remote model; see `discriminator_server`.

    Raises:
        ModelError: the model cannot be loaded.
        ServerError: the server serves another model, or does not answer.
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
            return PolarDiscriminator(
                source,
                wrapper=chosen.wrapper,
                batch_size=chosen.batch_size,
                device=device,
                store=run.converted_models_path(),
            )
        case "learned":
            return LearnedDiscriminator(source, options=chosen, seed=spec.seed, device=device)


def discriminator_server(spec: JobSpec, run: RunConfig) -> ModelServer | None:
    """The server of a remote discriminator; `None` for one in this process.

    Raises:
        SpecError: a worker has to start the server, and this run has no worker.
    """
    chosen = spec.discriminator
    if chosen.type == "learned" or isinstance(chosen.backend, InProcess):
        return None
    if isinstance(chosen.backend, ManagedVllm):
        return managed_server(run, "discriminator", chosen.backend, param=BACKEND)
    fixed = Address(model=chosen.backend.served_model or chosen.model, url=chosen.backend.url)
    return ModelServer(lambda: fixed, chosen.backend, param=f"{BACKEND}.url")


def managed_server(run: RunConfig, role: str, options: ManagedVllm, *, param: str) -> ModelServer:
    """The server that the worker started for this run.

    Raises:
        SpecError: this run has no worker.
    """
    if role not in run.servers:
        raise SpecError(
            "a `vllm` backend is started by the service's worker, and this run has no worker",
            param=param,
            hint="run it as a job of the service, or start a server and set its `url`",
        )
    path = Path(run.servers[role])
    return ModelServer(lambda: read_address(path), options, param=param)
