"""Errors of the store.

StoreError
├── NotFound      no such job, dataset, checkpoint
├── Gone          it existed, but was removed
├── Conflict      the resource is in a state that does not allow it
├── TooLarge      more bytes than the operator allows
└── FenceLost     another worker claimed the holder's job; it must stop writing
"""

from __future__ import annotations


class StoreError(Exception):
    """Base class of the store's errors."""


class NotFound(StoreError):
    """There is no such resource."""

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(f"there is no {kind} {id_!r}")
        self.kind = kind
        self.id = id_


class Gone(StoreError):
    """It existed, but was removed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Conflict(StoreError):
    """The resource is in a state that does not allow it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooLarge(StoreError):
    """More bytes than the operator allows, or than the upload's creator announced."""


class FenceLost(StoreError):
    """Another worker has claimed the holder's job."""

    def __init__(self, job_id: str, fence: int) -> None:
        super().__init__(f"job {job_id} is no longer held under fence {fence}")
