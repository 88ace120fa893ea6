"""What a spec may say about a discriminator behind an address."""

from __future__ import annotations

from store.access.url_allowlist import is_listed
from store.settings import Settings
from uniapl.errors import SpecError
from uniapl.spec.backend import ExternalServer
from uniapl.spec.job import JobSpec


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
