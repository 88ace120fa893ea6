"""Whether a model's server lives: it answers a real request in time, or it processes tokens meanwhile.

A request that arrives while vLLM has no room for more keys and values waits until others are done, which takes minutes
under load. So the probe goes before all that wait (`--scheduling-policy priority`; a lower number is earlier), and a
server whose counters of tokens have grown meanwhile is busy, not hung. They do not grow while the engine hangs.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import Any

from uniapl.inference.endpoint import Address
from uniapl.inference.http import (
    Reply,
    ReplyTimeout,
    ReplyTooLong,
    TransientError,
    connections,
    exchange,
    truncate_for_message,
)
from uniapl.inference.protocol import (
    InvalidReply,
    completion_request,
    embed_request,
    read_completions,
    read_embeddings,
    read_scores,
    score_request,
)
from worker.vllm.command import Plan

LARGEST_REPLY, LARGEST_METRICS = 2**20, 2**24
METRICS_S = 10.0
"""How long a server may take at most to answer with its counters: its engine has no part in that."""
PROBE_TEXT, PROBE_TOKENS = "Is anybody there?", [1, 1]
FIRST = -1
"""The probe's priority; requests that name none have 0."""
COUNTER = re.compile(rb"^vllm:(?:prompt|generation)_tokens_total(?:{.*})? (\S+)", re.MULTILINE)
"""Tokens read and tokens generated, of each engine. A pooling server only reads."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What came of a real request."""

    problem: str = ""
    """What is wrong with it; nothing, if nothing is."""
    silent: bool = False
    """Whether there was none in time."""


async def pulse(plan: Plan, address: Address, timeout_s: float) -> str:
    """What is wrong with a server that has been ready; nothing, if it answers, or processes tokens meanwhile."""
    before = await tokens(address)
    answer = await ask(plan, address, timeout_s)
    if not answer.silent or before is None:
        return answer.problem
    after = await tokens(address)
    if after is None or after <= before:
        return f"{answer.problem}, and processed no token meanwhile"
    logger.info("%s gave a real request %s, and processed %.0f tokens", plan.label, answer.problem, after - before)
    return ""


async def ask(plan: Plan, address: Address, timeout_s: float) -> Answer:
    """Send one real request, before all others that wait."""
    path, body = _question(plan, address.model)
    try:
        reply = await _exchange(
            address, "POST", path, body=body | {"priority": FIRST}, timeout_s=timeout_s, largest=LARGEST_REPLY
        )
        if reply.status != 200:
            return Answer(f"answered with status {reply.status}: {truncate_for_message(reply.content)}")
        numbers = _numbers(plan, reply.content, address.model)
    except TransientError as error:
        problem = truncate_for_message(error.problem)
        return Answer(f"gave a real request {problem}", silent=isinstance(error, ReplyTimeout))
    except (InvalidReply, ReplyTooLong) as error:
        return Answer(f"sent an unusable answer: {truncate_for_message(str(error))}")
    return Answer("" if all(map(math.isfinite, numbers)) else "answered with numbers that are not finite")


async def tokens(address: Address) -> float | None:
    """Tokens that the server has read and generated since its start; `None` where it does not count them."""
    try:
        reply = await _exchange(address, "GET", "/metrics", timeout_s=METRICS_S, largest=LARGEST_METRICS)
    except (TransientError, ReplyTooLong):
        return None
    counted = [float(number) for number in COUNTER.findall(reply.content)] if reply.status == 200 else []
    return math.fsum(counted) if counted else None


async def _exchange(address: Address, method: str, path: str, **how: Any) -> Reply:
    async with connections(1, proxies=False) as http:
        return await exchange(http, method, address.url + path, token=address.token, **how)


def _question(plan: Plan, model: str) -> tuple[str, dict[str, Any]]:
    match plan.kind:
        case "embed":
            return embed_request(model, [PROBE_TOKENS])
        case "score":
            return score_request("vllm", model, [PROBE_TEXT])
        case "sample":
            options: dict[str, Any] = {"number": 1, "max_tokens": 1, "temperature": 1.0, "stop_ids": [], "seed": 0}
            return "/v1/completions", completion_request(model, prompt=PROBE_TOKENS, **options)


def _numbers(plan: Plan, content: bytes, model: str) -> list[float]:
    match plan.kind:
        case "embed":
            return read_embeddings(content, model=model, count=1)[0]
        case "score":
            return read_scores("vllm", content, model=model, count=1)
        case "sample":
            return read_completions(content, model=model, count=1)[0].logprobs
