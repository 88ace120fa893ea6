"""The state machine as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from store import states
from store.states import ACTIVE, STATES, TERMINAL, TRANSITIONS, WAITING

pytestmark = pytest.mark.unit

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "reliability.md"


def test_the_document_holds_the_table_as_it_is_printed() -> None:
    _, _, rest = DOCUMENT.read_text().partition("<!-- states -->\n")
    table, end, _ = rest.partition("\n<!-- /states -->")
    assert end
    assert table == states.table()


def test_every_state_waits_or_is_active_or_is_over() -> None:
    assert sorted(STATES) == sorted((*WAITING, *ACTIVE, *TERMINAL))


def test_nothing_leads_out_of_what_is_over_and_every_other_state_is_left() -> None:
    left = {source for transition in TRANSITIONS.values() for source in transition.sources}
    assert left == set(STATES) - set(TERMINAL)
