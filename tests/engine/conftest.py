"""A stack from this checkout for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from uniapl_client import Client

from tests.engine.checkout import UP, Checkout

SPEC: dict[str, Any] = {
    "student": "tiny-random-llama",
    "alpha": 0.3,
    "lambda_adv": 0.01,
    "grpo": {"group_size": 2},
    "rollout": {"max_new_tokens": 8},
    "schedule": {"steps": 2, "prompts_per_step": 1},
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout made under umask 077, with secrets, and nothing started."""
    with Checkout(tmp_path_factory.mktemp("checkout")) as made:
        made.run("make secrets")
        yield made


@pytest.fixture(scope="module")
def stack(checkout: Checkout) -> Checkout:
    """The stack that the README starts."""
    checkout.run(UP)
    return checkout


@pytest.fixture(scope="module")
def key(stack: Checkout) -> str:
    return stack.key()


@pytest.fixture
def client(stack: Checkout, key: str) -> Iterator[Client]:
    with stack.client(key) as client:
        yield client
