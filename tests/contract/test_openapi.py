"""Generated requests over the whole OpenAPI document: no server error, no undocumented response."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.main import create_app
from store.access.api_keys import SCOPES, Scope
from store.settings import Settings
from tests.contract.conftest import World

pytestmark = pytest.mark.contract
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
QUIET: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
    "database": None,
}
REQUESTS = 40
"""Of one operation with one key, beside the document's edge cases."""
STORIES, STEPS = 30, 20
SCHEMA = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_answer_is_described(operation: schemathesis.APIOperation, world: World, scope: Scope) -> None:
    """Requests as the document wants them, and such as break it."""
    strategies = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @seed(0)
    @given(case=st.one_of(strategies))
    @settings(max_examples=REQUESTS, phases=[Phase.explicit, Phase.generate], **QUIET)
    def ask(case: schemathesis.Case) -> None:
        world.fill(case, random.Random(repr((case.path_parameters, case.query, case.body))))
        response = case.call(world.server.url, headers={"authorization": f"Bearer {world.keys[scope]}"}, timeout=60)
        case.validate_response(response, checks=CHECKS)

    ask()


def test_stories_of_requests(world: World) -> None:
    """What one answer names, the next request is about; with the key that may do everything."""
    seen: Counter[tuple[str, int]] = Counter()

    class Story(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: schemathesis.Case) -> None:
            if case.body:  # ids in paths come from earlier answers
                world.fill(case, random.Random(repr(case.body)))
            case.headers.pop("Authorization", None)

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {
                "base_url": world.server.url,
                "headers": {"authorization": f"Bearer {world.keys['admin']}"},
                "timeout": 60,
            }

        def after_call(self, response: schemathesis.Response, case: schemathesis.Case) -> None:
            seen[case.operation.label, response.status_code] += 1

        def validate_response(self, response: schemathesis.Response, case: schemathesis.Case, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    few = settings(max_examples=5, stateful_step_count=STEPS, phases=[Phase.generate], **QUIET)
    for number in range(STORIES):
        with suppress(FlakyStrategyDefinition):  # the service remembers the stories before; no story is like another
            seed(number)(Story).run(settings=few)
    done = {label for label, status in seen if status < 300}
    # The stories go deep: jobs are made, and what was made is changed and deleted.
    assert {"POST /jobs", "POST /uploads", "GET /jobs/{job_id}", "POST /jobs/{job_id}/cancel"} <= done, seen
