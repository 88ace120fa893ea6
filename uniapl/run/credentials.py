"""Credentials of a run: the secrets that its launcher passes, and the rule for the addresses of its servers."""

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
    """The secrets and the address rule of one run."""

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Value by name."""
    public_only: bool = False
    """Whether servers named by the spec must have public addresses."""

    def redactor(self, spec: JobSpec) -> Redactor:
        """A redactor for every secret of the run."""
        teacher = spec.teacher
        of_environment = teacher.api_key_env if isinstance(teacher, OpenAITeacher) else None
        return Redactor([*self.secrets.values(), os.environ.get(of_environment or "", "").strip()])

    def teacher_key(self, teacher: OpenAITeacher) -> str | None:
        """The teacher's API key; `None` where the spec names none.

        Raises:
            SpecError: the secret or environment variable that the spec names is missing, or not valid in a header.
        """
        if (name := teacher.api_key_secret) is not None:
            if name not in self.secrets:
                raise SpecError(
                    f"this run has no secret {name!r}",
                    param="teacher.api_key_secret",
                    hint="secrets exist in the service only; in a run without it, set teacher.api_key_env instead",
                )
            return self.secrets[name]
        return None if teacher.api_key_env is None else _from_environment(teacher.api_key_env)


def parse_secrets(text: str) -> dict[str, str]:
    """Secrets from a JSON object of names and values.

    Raises:
        ValueError: the JSON is incomplete, as after the death of the launcher.
    """
    return {str(name): str(value) for name, value in json.loads(text).items()}


def _from_environment(name: str) -> str:
    key = os.environ.get(name, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        fault = "holds characters that an HTTP header cannot" if key else "is not set"
        raise SpecError(
            f"the environment variable {name} {fault} in the trainer's environment",
            param="teacher.api_key_env",
            hint="set it to the teacher's API key, or name another variable",
        )
    return key
