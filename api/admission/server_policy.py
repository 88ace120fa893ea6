"""Policy for the addresses of teachers and discriminators in a job spec."""

from __future__ import annotations

from sqlalchemy.orm import Session

from store.access import secrets
from store.access.url_allowlist import ANY_PUBLIC, is_listed
from store.errors import NotFound
from store.settings import Settings
from uniapl.errors import SpecError
from uniapl.inference import public_transport
from uniapl.inference.public_transport import AddressRefused
from uniapl.spec.backend import ExternalServer
from uniapl.spec.job import JobSpec
from uniapl.spec.teacher import OpenAITeacher


def check_teacher(settings: Settings, spec: JobSpec) -> None:
    """Refuse addresses that the operator has not allowed, and keys from the environment. It may query a resolver.

    Raises:
        SpecError: the field is in `param`.
    """
    teacher = spec.teacher
    if not isinstance(teacher, OpenAITeacher):
        return
    if teacher.api_key_env is not None:
        raise SpecError(
            "the service does not read API keys of teachers from its environment",
            param="teacher.api_key_env",
            hint="store the key with PUT /secrets/{name} and set teacher.api_key_secret to its name",
        )
    if is_listed(teacher.base_url, settings.teacher_urls):
        return
    if ANY_PUBLIC not in settings.teacher_urls:
        raise SpecError(
            f"the address {teacher.base_url} is not allowed for teachers",
            param="teacher.base_url",
            hint="use an allowed address, or have the operator add this one to UNIAPL_TEACHER_URLS",
        )
    try:
        public_transport.check(teacher.base_url)
    except AddressRefused as error:
        raise SpecError(
            f"the address {teacher.base_url} is not allowed for teachers",
            param="teacher.base_url",
            hint=f"{error}; or have the operator add the address to UNIAPL_TEACHER_URLS",
        ) from None


def need_secret(session: Session, spec: JobSpec) -> None:
    """Refuse an unknown secret; a known one cannot be deleted before the transaction ends.

    Raises:
        SpecError: it does not exist.
    """
    teacher = spec.teacher
    if not isinstance(teacher, OpenAITeacher) or teacher.api_key_secret is None:
        return
    try:
        secrets.need(session, teacher.api_key_secret)
    except NotFound:
        raise SpecError(
            f"unknown secret {teacher.api_key_secret!r}",
            param="teacher.api_key_secret",
            hint="store it with PUT /secrets/{name}; GET /secrets lists the existing names",
        ) from None


def check_discriminator(settings: Settings, spec: JobSpec) -> None:
    """Refuse addresses that the operator has not listed, public ones too: their scores decide the gradient.

    Raises:
        SpecError: the field is in `param`.
    """
    judge = spec.discriminator
    if judge.type == "learned" or not isinstance(judge.backend, ExternalServer):
        return
    if not is_listed(judge.backend.url, settings.discriminator_urls):
        raise SpecError(
            f"the address {judge.backend.url} is not allowed for discriminators",
            param="discriminator.backend.url",
            hint="use an allowed address, or have the operator add this one to UNIAPL_DISCRIMINATOR_URLS",
        )
