"""How a run may reach servers that its spec names: with which keys, and where they may be."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from uniapl.errors import SpecError
from uniapl.run.redaction import Redactor
from uniapl.spec.job import JobSpec
from uniapl.spec.teacher import OpenAITeacher


@dataclass(frozen=True)
class Credentials:
    """What the launcher of a run has given it."""

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By name."""
    public_only: bool = False
    """Whether servers must be at public addresses."""

    def redactor(self, spec: JobSpec) -> Redactor:
        """Knows every secret that the run can know."""
        teacher = spec.teacher
        of_environment = teacher.api_key_env if isinstance(teacher, OpenAITeacher) else None
        return Redactor([*self.secrets.values(), os.environ.get(of_environment or "", "").strip()])

    def teacher_key(self, teacher: OpenAITeacher) -> str | None:
        """The teacher's key; `None` for one that asks for none.

        Raises:
            SpecError: there is none by the name that the spec gives, or no header can hold it.
        """
        if (name := teacher.api_key_secret) is not None:
            if name not in self.secrets:
                raise SpecError(
                    f"no secret {name!r} was given to this run",
                    param="teacher.api_key_secret",
                    hint="secrets belong to the service; without it, name a variable in teacher.api_key_env",
                )
            return self.secrets[name]
        return None if teacher.api_key_env is None else _from_environment(teacher.api_key_env)


def parse_secrets(text: str) -> dict[str, str]:
    """The secrets that a launcher wrote: a JSON object, from name to value.

    Raises:
        ValueError: it is cut short, as by a launcher that died.
    """
    return {str(name): str(value) for name, value in json.loads(text).items()}


def _from_environment(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        fault = "holds characters that no header can" if key else "is not set"
        raise SpecError(
            f"the environment variable {name} {fault}, where the trainer runs",
            param="teacher.api_key_env",
            hint="set it to the teacher's key in the trainer's environment, or name another variable",
        )
    return key
