"""InternLM2's tokenizer for a trainer whose model is on a server: no weights are read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from uniapl.discriminators.internlm2.source import describes_internlm2, files_of
from uniapl.discriminators.internlm2.tokenizer import write_tokenizer
from uniapl.run.config import ModelSource


def load_tokenizer(source: ModelSource) -> Any | None:
    """The tokenizer in transformers; `None` for another model than InternLM2.

    Raises:
        ModelError: its files cannot be downloaded or read.
    """
    if not describes_internlm2(source):
        return None
    from transformers import PreTrainedTokenizerFast

    folder = files_of(source, weights=False)
    with tempfile.TemporaryDirectory() as written:
        write_tokenizer(folder, Path(written))
        return PreTrainedTokenizerFast.from_pretrained(written)
