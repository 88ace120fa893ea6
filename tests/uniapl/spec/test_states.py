"""Job states of the API's models and of the store's state machine: one list."""

from __future__ import annotations

from typing import get_args

import pytest

from store.states import STATES, TERMINAL
from uniapl.spec.resources import TERMINAL_STATES, JobState

pytestmark = pytest.mark.unit


def test_the_states_of_the_models_are_those_of_the_state_machine() -> None:
    assert get_args(JobState) == STATES
    assert set(TERMINAL) == TERMINAL_STATES
