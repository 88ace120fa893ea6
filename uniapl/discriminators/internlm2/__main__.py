"""`python -m uniapl.discriminators.internlm2 STORE SOURCE COMMAND…`: convert a model, then become its server.

SOURCE is a `ModelSource` in JSON. COMMAND is `vllm serve MODEL …`; where the model is converted, its folder replaces
MODEL, and options that name a revision of MODEL are dropped.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

from uniapl.discriminators.internlm2.convert import converted
from uniapl.errors import ModelError
from uniapl.run.config import ModelSource

REVISIONS = ("--revision", "--tokenizer-revision")


def command_for(command: list[str], source: ModelSource, used: ModelSource) -> list[str]:
    """The server's command for a model that may have been converted."""
    if used == source:
        return command
    at = command.index(str(source.hub or source.path))
    options = command[at + 1 :]
    for name in REVISIONS:
        if name in options:
            named = options.index(name)
            del options[named : named + 2]
    return [*command[:at], str(used.path), *options]


def main(store: str, described: str, command: list[str]) -> int:
    """Convert, and replace this process by the server; returns the exit status where one of them fails."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    source = ModelSource.model_validate_json(described)
    if shutil.which(command[0]) is None:
        print(f"program {command[0]!r} not found; check UNIAPL_VLLM_COMMAND", file=sys.stderr)
        return 1
    try:
        found = command_for(command, source, converted(source, Path(store)))
        os.execvp(found[0], found)
    except ModelError as error:
        print(f"cannot serve {source.hub or source.path}: {error.message}", file=sys.stderr)
    except OSError as error:
        print(f"cannot serve {source.hub or source.path}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
