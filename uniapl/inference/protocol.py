"""Requests and answers of the servers that score and embed, and what of an answer is believed.

    vllm        POST /pooling         {"data": [{"index", "data": [score]}]}, or one list per token: the last counts
                POST /v1/embeddings   {"data": [{"index", "embedding": [...]}]}
    sglang      POST /classify        [{"embedding": [score]}]
    lmdeploy    POST /pooling         {"data": [{"index", "data": score}]}
    all         GET /v1/models        {"data": [{"id"}]}

The shapes of scores are those that POLAR's own client reads (InternLM/POLAR at commit 80626f3). vLLM squashes what a
classifier with one output says by a sigmoid unless `use_activation` is false: a score here is the raw logit.
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
"""Beyond it, a score is a fault: POLAR's span some tens."""
SLACK = 1e-3
"""How far above 0 rounding may put the log-probability of a certain token."""
Found = TypeVar("Found")


class InvalidReply(Exception):
    """An answer with status 200 that is not one."""


def score_request(api: Api, model: str, texts: Sequence[str], *, raw: bool = True) -> tuple[str, dict[str, Any]]:
    """Path and body that ask for one score per text; `raw` is heeded by vLLM alone, the others never squash."""
    match api:
        case "sglang":
            return "/classify", {"model": model, "text": list(texts)}
        case "lmdeploy":
            return "/pooling", {"model": model, "input": list(texts)}
        case "vllm":
            return "/pooling", {"model": model, "input": list(texts), "use_activation": not raw}


def read_scores(api: Api, content: bytes, *, model: str, count: int) -> list[float]:
    """The scores in the order asked, NaN for one that is null, not finite or out of range.

    Raises:
        InvalidReply: the answer has another shape, another number of scores, or is another model's.
    """
    if api == "sglang":
        scored = _parsed(_SGLANG, content)
        _check_count(len(scored), count)
        return [_plausible(item.embedding[0]) for item in scored]
    found = _parsed(_POOLING, content)
    _check_model(found.model, model)
    by_index = _in_order({item.index: item.data for item in found.data}, len(found.data), count)
    return [_plausible(_score(value, api)) for value in by_index]


def embed_request(model: str, rows: Sequence[Sequence[int]]) -> tuple[str, dict[str, Any]]:
    """Path and body that ask for one embedding per row of token ids."""
    return "/v1/embeddings", {"model": model, "input": [list(row) for row in rows], "encoding_format": "float"}


def read_embeddings(content: bytes, *, model: str, count: int) -> list[list[float]]:
    """The embeddings in the order asked, all of one length; NaN throughout for one that has a fault.

    Raises:
        InvalidReply: as above, or their lengths differ.
    """
    found = _parsed(_EMBEDDINGS, content)
    _check_model(found.model, model)
    vectors = _in_order({item.index: item.embedding for item in found.data}, len(found.data), count)
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidReply("embeddings of different lengths in one answer")
    return [
        [_number(x) for x in vector] if _points_somewhere(vector) else [math.nan] * len(vector) for vector in vectors
    ]


@dataclass(frozen=True)
class Sampled:
    """One answer that a server has sampled."""

    ids: list[int]
    """Tokens, the end token included when there is one."""
    logprobs: list[float]
    """Nats, one per token, under the temperature that it was sampled with."""


def completion_request(
    model: str,
    *,
    prompt: Sequence[int],
    number: int,
    max_tokens: int,
    temperature: float,
    stop_ids: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    """Body of `POST /v1/completions` to vLLM for `number` answers to a prompt of token ids.

    Everything that cuts or bends the distribution is switched off by name, for the model's own defaults would apply.
    """
    return {
        "model": model,
        "prompt": list(prompt),
        "n": number,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": list(stop_ids),
        "seed": seed,
        "logprobs": 0,  # of the sampled tokens alone
        "return_token_ids": True,
    }


def read_completions(content: bytes, *, model: str, count: int) -> list[Sampled]:
    """The answers in order.

    Raises:
        InvalidReply: as above, or one has no token, or not one finite log-probability for each.
    """
    found = _parsed(_COMPLETIONS, content)
    _check_model(found.model, model)
    choices = _in_order({choice.index: choice for choice in found.choices}, len(found.choices), count)
    for choice in choices:
        logprobs = choice.logprobs.token_logprobs
        if not choice.token_ids or len(logprobs) != len(choice.token_ids):
            raise InvalidReply(f"{len(choice.token_ids)} tokens with {len(logprobs)} log-probabilities")
        if not all(math.isfinite(x) and x < SLACK for x in logprobs):
            raise InvalidReply("log-probabilities that are none")
    return [Sampled(choice.token_ids, [min(x, 0.0) for x in choice.logprobs.token_logprobs]) for choice in choices]


def read_version(content: bytes, model: str) -> str:
    """Version of a sampler's weights, from `GET /weight_info`; `model` is not named there.

    Raises:
        InvalidReply: the answer has another shape.
    """
    return _parsed(_VERSION, content).weight_version


def read_nothing(content: bytes, model: str) -> None:
    """An order's answer is its status."""


def read_models(content: bytes) -> list[str]:
    """Names of the models that a server says it has.

    Raises:
        InvalidReply: the answer has another shape.
    """
    return [entry.id for entry in _parsed(_MODELS, content).data]


def _parsed(shape: TypeAdapter[Found], content: bytes) -> Found:
    try:
        return shape.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidReply(f"{where}: {first['msg']}: {truncate_for_message(content)}") from None


def _check_count(got: int, asked: int) -> None:
    if got != asked:
        raise InvalidReply(f"asked about {asked} texts, answered about {got}")


def _check_model(found: str | None, asked: str) -> None:
    if found is not None and found != asked:
        raise InvalidReply(f"asked the model {asked}, and {truncate_for_message(found)} answered")


def _in_order(by_index: dict[int, Found], given: int, count: int) -> list[Found]:
    _check_count(given, count)
    if set(by_index) != set(range(count)):
        raise InvalidReply(f"indices {sorted(by_index)} instead of 0 to {count - 1}")
    return [by_index[i] for i in range(count)]


def _score(value: Any, api: Api) -> float | None:
    """The one number in what `/pooling` says of a text."""
    if api == "lmdeploy" and not isinstance(value, list):
        return value  # type: ignore[no-any-return]
    if isinstance(value, list) and value and isinstance(value[-1], list):
        value = value[-1]  # one list per token: the score is read at the last
    if not isinstance(value, list) or len(value) != 1:
        raise InvalidReply(
            f"a score should be one number, and is {truncate_for_message(str(value))}; is this a model with one output?"
        )
    return value[0]  # type: ignore[no-any-return]


def _plausible(score: float | None) -> float:
    return score if score is not None and abs(score) <= LARGEST_LOGIT else math.nan


def _points_somewhere(vector: Sequence[float | None]) -> bool:
    return all(x is not None and math.isfinite(x) for x in vector) and any(vector)


def _number(x: float | None) -> float:
    return math.nan if x is None else x


def _no_boolean(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        raise ValueError("is no number")
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


class _Version(BaseModel):
    weight_version: str


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
