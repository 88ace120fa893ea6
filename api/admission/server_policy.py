"""Which model servers a spec may name: teachers and discriminators behind an address."""

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
    """Refuse addresses that are not the operator's wish, and keys of the operator's environment. It may ask a resolver.

    Raises:
        SpecError: naming the field.
    """
    teacher = spec.teacher
    if not isinstance(teacher, OpenAITeacher):
        return
    if teacher.api_key_env is not None:
        raise SpecError(
            "the service sends no variable of its environment to anybody",
            param="teacher.api_key_env",
            hint="store the key with PUT /secrets/{name}, and name it in teacher.api_key_secret",
        )
    if is_listed(teacher.base_url, settings.teacher_urls):
        return
    if ANY_PUBLIC not in settings.teacher_urls:
        raise SpecError(
            f"the operator has not allowed teachers at {teacher.base_url}",
            param="teacher.base_url",
            hint="allowed addresses are listed in the service's setting UNIAPL_TEACHER_URLS",
        )
    try:
        public_transport.check(teacher.base_url)
    except AddressRefused as error:
        raise SpecError(
            f"teachers at {teacher.base_url} are not asked",
            param="teacher.base_url",
            hint=f"{error}; or have the operator list the address in UNIAPL_TEACHER_URLS",
        ) from None


def need_secret(session: Session, spec: JobSpec) -> None:
    """Refuse a name that stands for no secret; one that does cannot be deleted before the transaction ends.

    Raises:
        SpecError: there is none.
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
            hint="store it with PUT /secrets/{name}; GET /secrets lists the names that there are",
        ) from None


def check_discriminator(settings: Settings, spec: JobSpec) -> None:
    """Refuse addresses that the operator has not listed; public ones too, since what they answer is trained on.

    Raises:
        SpecError: naming the field.
    """
    judge = spec.discriminator
    if judge.type == "learned" or not isinstance(judge.backend, ExternalServer):
        return
    if not is_listed(judge.backend.url, settings.discriminator_urls):
        raise SpecError(
            f"the operator has not allowed discriminators at {judge.backend.url}",
            param="discriminator.backend.url",
            hint="allowed addresses are listed in the service's setting UNIAPL_DISCRIMINATOR_URLS",
        )
