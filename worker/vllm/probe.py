"""Health probe of a model server: a real request with a deadline, backed by vLLM's token counters.

Under load a request may wait for minutes until vLLM has free KV cache. The probe therefore has priority over waiting
requests (`--scheduling-policy priority`; a lower number is earlier), and a server whose token counters grew meanwhile
counts as busy, not as hung. The counters do not grow while the engine hangs.
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
"""Time limit of a request for the counters, which does not involve the engine."""
PROBE_TEXT, PROBE_TOKENS = "Is anybody there?", [1, 1]
FIRST = -1
"""The probe's priority; the default of requests is 0."""
COUNTER = re.compile(rb"^vllm:(?:prompt|generation)_tokens_total(?:{.*})? (\S+)", re.MULTILINE)
"""Prompt and generation tokens of each engine; a pooling server counts prompt tokens only."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Result of one probe."""

    problem: str = ""
    """Description of the fault; empty if the reply is valid."""
    silent: bool = False
    """Whether no reply came in time."""


async def pulse(plan: Plan, address: Address, timeout_s: float) -> str:
    """The fault of a server that has been ready; empty if it replies or processes tokens meanwhile."""
    before = await tokens(address)
    answer = await ask(plan, address, timeout_s)
    if not answer.silent or before is None:
        return answer.problem
    after = await tokens(address)
    if after is None or after <= before:
        return f"{answer.problem}, and processed no token meanwhile"
    logger.info("the %s %s, but processed %.0f tokens", plan.label, answer.problem, after - before)
    return ""


async def ask(plan: Plan, address: Address, timeout_s: float) -> Answer:
    """Send one probe, with priority over waiting requests."""
    path, body = _question(plan, address.model)
    try:
        reply = await _exchange(
            address, "POST", path, body=body | {"priority": FIRST}, timeout_s=timeout_s, largest=LARGEST_REPLY
        )
        if reply.status != 200:
            return Answer(f"replied with status {reply.status}: {truncate_for_message(reply.content)}")
        numbers = _numbers(plan, reply.content, address.model)
    except TransientError as error:
        return Answer(f"failed a probe: {truncate_for_message(error.problem)}", silent=isinstance(error, ReplyTimeout))
    except (InvalidReply, ReplyTooLong) as error:
        return Answer(f"sent an invalid reply: {truncate_for_message(str(error))}")
    return Answer("" if all(map(math.isfinite, numbers)) else "replied with non-finite numbers")


async def tokens(address: Address) -> float | None:
    """Prompt and generated tokens since the server's start; `None` if it exports no counters."""
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
