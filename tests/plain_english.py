"""Words that user-visible text does not use (CONTRIBUTING, "Language")."""

from __future__ import annotations

import re

NOT_PLAIN = re.compile(
    r"\b(nobody|somebody|whoever|everybody|tells?|told|says?|said|lies?|lying|stands?|mends?|knows?|wants?|minds?|"
    r"go(?:es)? on|(?:is|are|not) over|is asked|so many|of ours|of yours|looks after)\b",
    re.IGNORECASE,
)
