"""What the store refuses.

StoreError
├── NotFound      no such job, dataset, checkpoint
├── Gone          it was there once
├── Conflict      the resource is in a state that does not allow it
├── TooLarge      more bytes than the operator allows
└── FenceLost     a holder's job has been taken from it; it must stop writing
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of what the store refuses."""


class NotFound(StoreError):
    """There is no such resource."""

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(f"there is no {kind} {id_!r}")
        self.kind = kind
        self.id = id_


class Gone(StoreError):
    """It was there once."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Conflict(StoreError):
    """The resource is in a state that does not allow it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooLarge(StoreError):
    """More bytes than the operator allows, or than were announced."""


class FenceLost(StoreError):
    """The job has been taken from its holder."""

    def __init__(self, job_id: str, fence: int) -> None:
        super().__init__(f"job {job_id} is no longer held under fence {fence}")
