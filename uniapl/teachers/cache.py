"""Cache of teacher answers: a folder of files, named by a hash of the request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from uniapl.run import atomic
from uniapl.spec.dataset import Message
from uniapl.spec.teacher import OpenAITeacher


def question_key(teacher: OpenAITeacher, messages: Sequence[Message]) -> str:
    """SHA-256 of endpoint, model, sampling options and messages, as canonical JSON."""
    asked = {
        "base_url": teacher.base_url.rstrip("/"),
        "model": teacher.model,
        "temperature": teacher.temperature,
        "max_tokens": teacher.max_tokens,
        "messages": [message.turn() for message in messages],
    }
    return _sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")))


class AnswerCache:
    """A cache folder that concurrent runs may share: writes are atomic, and the last write of a key wins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> str | None:
        """The cached answer; `None` if it is missing, or its file is truncated or altered."""
        try:
            entry = _Entry.model_validate_json((self._folder / f"{key}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return entry.answer if entry.sha256 == _sha256(entry.answer) else None

    def put(self, key: str, answer: str) -> None:
        """Store an answer."""
        entry = _Entry(answer=answer, sha256=_sha256(answer))
        atomic.write(self._folder / f"{key}.json", entry.model_dump_json().encode())


class _Entry(BaseModel):
    answer: str
    sha256: str


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
