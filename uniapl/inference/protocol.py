"""Requests and replies of model servers that score, embed and sample, and the validation of replies.

    vllm        POST /pooling         {"data": [{"index", "data": [score]}]}, or one list per token: the last counts
                POST /v1/embeddings   {"data": [{"index", "embedding": [...]}]}
    sglang      POST /classify        [{"embedding": [score]}]
    lmdeploy    POST /pooling         {"data": [{"index", "data": score}]}
    all         GET /v1/models        {"data": [{"id"}]}

The shapes of scores are those of POLAR's own client (InternLM/POLAR at commit 80626f3). vLLM applies a sigmoid to the
output of a classifier with one output unless `use_activation` is false; a score here is the raw logit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from uniapl.inference.http import truncate_for_message
from uniapl.spec.backend import Api

LARGEST_LOGIT = 1e4
"""A score above it in magnitude is invalid; those of POLAR span some tens."""
SLACK = 1e-3
"""Rounding may raise the log-probability of a certain token above 0 by this much, in nats."""
Item = TypeVar("Item")


class InvalidReply(Exception):
    """A reply with status 200 whose content is invalid."""


def score_request(api: Api, model: str, texts: Sequence[str], *, raw: bool = True) -> tuple[str, dict[str, Any]]:
    """Path and body of a request for one score per text; only vLLM needs `raw`, the others apply no sigmoid."""
    match api:
        case "sglang":
            return "/classify", {"model": model, "text": list(texts)}
        case "lmdeploy":
            return "/pooling", {"model": model, "input": list(texts)}
        case "vllm":
            return "/pooling", {"model": model, "input": list(texts), "use_activation": not raw}


def read_scores(api: Api, content: bytes, *, model: str, count: int) -> list[float]:
    """The scores in the order of the request, NaN for one that is null, not finite or out of range.

    Raises:
        InvalidReply: the reply has another shape, number of scores, or model.
    """
    if api == "sglang":
        scored = _parsed(_SGLANG, content)
        _check_count(len(scored), count)
        return [_plausible(item.embedding[0]) for item in scored]
    reply = _parsed(_POOLING, content)
    _check_model(reply.model, model)
    by_index = _in_order({item.index: item.data for item in reply.data}, len(reply.data), count)
    return [_plausible(_score(value, api)) for value in by_index]


def embed_request(model: str, rows: Sequence[Sequence[int]]) -> tuple[str, dict[str, Any]]:
    """Path and body of a request for one embedding per row of token ids."""
    return "/v1/embeddings", {"model": model, "input": [list(row) for row in rows], "encoding_format": "float"}


def read_embeddings(content: bytes, *, model: str, count: int) -> list[list[float]]:
    """The embeddings in the order of the request, all of one length; all NaN where a value is invalid or all are 0.

    Raises:
        InvalidReply: as `read_scores`, or the lengths differ.
    """
    reply = _parsed(_EMBEDDINGS, content)
    _check_model(reply.model, model)
    vectors = _in_order({item.index: item.embedding for item in reply.data}, len(reply.data), count)
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidReply("the embeddings have different lengths")
    return [[_number(x) for x in vector] if _has_direction(vector) else [math.nan] * len(vector) for vector in vectors]


@dataclass(frozen=True)
class Sampled:
    """One sampled completion."""

    ids: list[int]
    """Tokens, the end token included when there is one."""
    logprobs: list[float]
    """Nats, one per token, under the sampling temperature."""


def completion_request(
    model: str,
    *,
    prompt: Sequence[int],
    number: int,
    max_tokens: int,
    temperature: float,
    stop_ids: Sequence[int],
    seed: int,
    stop: Sequence[str] = (),
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
) -> dict[str, Any]:
    """Body of `POST /v1/completions` to vLLM for `number` completions of a prompt of token ids.

    Options of the distribution are always sent, since the model's own defaults would apply.
    """
    return {
        "model": model,
        "prompt": list(prompt),
        "n": number,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": 1.0,
        "stop": list(stop),
        "stop_token_ids": list(stop_ids),
        "seed": seed,
        "logprobs": 0,  # of the sampled tokens alone
        "return_token_ids": True,
    }


def read_completions(content: bytes, *, model: str, count: int) -> list[Sampled]:
    """The completions in order.

    Raises:
        InvalidReply: as `read_scores`, or a completion has no token, or not one finite log-probability per token.
    """
    reply = _parsed(_COMPLETIONS, content)
    _check_model(reply.model, model)
    choices = _in_order({choice.index: choice for choice in reply.choices}, len(reply.choices), count)
    for choice in choices:
        logprobs = choice.logprobs.token_logprobs
        if not choice.token_ids or len(logprobs) != len(choice.token_ids):
            raise InvalidReply(f"{len(choice.token_ids)} tokens with {len(logprobs)} log-probabilities")
        if not all(math.isfinite(x) and x < SLACK for x in logprobs):
            raise InvalidReply("a log-probability is above 0 or not finite")
    return [Sampled(choice.token_ids, [min(x, 0.0) for x in choice.logprobs.token_logprobs]) for choice in choices]


def read_version(content: bytes, model: str) -> str:
    """Version of a sampler's weights, from `GET /weight_info`, whose reply does not name the `model`.

    Raises:
        InvalidReply: the reply has another shape.
    """
    return _parsed(_VERSION, content).weight_version


def read_world_size(content: bytes, model: str) -> int:
    """Processes of a vLLM server that receive weights, from `GET /get_world_size`.

    Raises:
        InvalidReply: the reply has another shape.
    """
    return _parsed(_WORLD, content).world_size


def read_nothing(content: bytes, model: str) -> None:
    """Accept any content: the status of the reply is its result."""


def read_success(content: bytes, model: str) -> None:
    """Accept `{"success": true}`, or an empty reply, as older servers send it.

    Raises:
        InvalidReply: the server did not succeed; the request may be repeated.
    """
    if content and not _parsed(_DONE, content).success:
        raise InvalidReply("success is false: requests are running")


def read_models(content: bytes) -> list[str]:
    """Names of the models that a server lists.

    Raises:
        InvalidReply: the reply has another shape.
    """
    return [entry.id for entry in _parsed(_MODELS, content).data]


def _parsed(shape: TypeAdapter[Item], content: bytes) -> Item:
    try:
        return shape.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidReply(f"{where}: {first['msg']}: {truncate_for_message(content)}") from None


def _check_count(got: int, expected: int) -> None:
    if got != expected:
        raise InvalidReply(f"expected {expected} results, got {got}")


def _check_model(got: str | None, expected: str) -> None:
    if got is not None and got != expected:
        raise InvalidReply(f"expected a reply of model {expected}, got one of {truncate_for_message(got)}")


def _in_order(by_index: dict[int, Item], given: int, count: int) -> list[Item]:
    _check_count(given, count)
    if set(by_index) != set(range(count)):
        raise InvalidReply(f"expected indices 0 to {count - 1}, got {sorted(by_index)}")
    return [by_index[i] for i in range(count)]


def _score(value: Any, api: Api) -> float | None:
    """The single number in the reply of `/pooling` for a text."""
    if api == "lmdeploy" and not isinstance(value, list):
        return value  # type: ignore[no-any-return]
    if isinstance(value, list) and value and isinstance(value[-1], list):
        value = value[-1]  # one list per token: the score is read at the last
    if not isinstance(value, list) or len(value) != 1:
        raise InvalidReply(
            f"expected one number as score, got {truncate_for_message(str(value))}; use a model with one output"
        )
    return value[0]  # type: ignore[no-any-return]


def _plausible(score: float | None) -> float:
    return score if score is not None and abs(score) <= LARGEST_LOGIT else math.nan


def _has_direction(vector: Sequence[float | None]) -> bool:
    return all(x is not None and math.isfinite(x) for x in vector) and any(vector)


def _number(x: float | None) -> float:
    return math.nan if x is None else x


def _no_boolean(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        raise ValueError("not a number")
    return value


_Number = Annotated[float | None, BeforeValidator(_no_boolean)]
_Numbers = Annotated[list[_Number], Field(min_length=1)]


class _Pooled(BaseModel):
    index: int
    data: _Number | _Numbers | Annotated[list[_Numbers], Field(min_length=1)]


class _Pooling(BaseModel):
    model: str | None = None
    data: list[_Pooled]


class _Embedded(BaseModel):
    index: int
    embedding: _Numbers


class _Embeddings(BaseModel):
    model: str | None = None
    data: list[_Embedded]


class _Scored(BaseModel):
    embedding: Annotated[list[_Number], Field(min_length=1, max_length=1)]


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    index: int
    token_ids: list[int]
    logprobs: _Logprobs


class _Completions(BaseModel):
    model: str
    choices: list[_Choice]


class _Done(BaseModel):
    success: bool = True


class _Version(BaseModel):
    weight_version: str


class _World(BaseModel):
    world_size: Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


_POOLING = TypeAdapter(_Pooling)
_EMBEDDINGS = TypeAdapter(_Embeddings)
_SGLANG = TypeAdapter(list[_Scored])
_MODELS = TypeAdapter(_Models)
_COMPLETIONS = TypeAdapter(_Completions)
_VERSION = TypeAdapter(_Version)
_WORLD = TypeAdapter(_World)
_DONE = TypeAdapter(_Done)
