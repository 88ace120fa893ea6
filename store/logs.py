"""Logging configuration of API and worker: text, or JSON lines with the ids of request, job and attempt."""

from __future__ import annotations

import logging
import logging.config
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType

from store.settings import Settings

OURS = ("admin", "api", "store", "worker", "embedded", "uvicorn.error", "celery")
_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Add fields such as `request_id`, `job_id`, `attempt` and `fence` to all log records of this block.

    The fields belong to the context: a thread started inside needs a copy of it.
    """
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def configure(settings: Settings) -> None:
    """Log to standard error in the configured format. JSON lines include warnings and unhandled exceptions, which
    Python writes as plain text."""
    formatters = {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(levelname)s %(name)s %(message)s",
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": "time",
        },
    }
    handler = {
        "class": "logging.StreamHandler",
        "formatter": settings.log_format,
        "filters": ["about"],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"about": {"()": Subject}},
            "formatters": {settings.log_format: formatters[settings.log_format]},
            "handlers": {"stderr": handler},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {name: {"level": settings.log_level} for name in OURS},
        }
    )
    if settings.log_format == "json":
        logging.captureWarnings(True)
        sys.excepthook = _log_unhandled
        threading.excepthook = lambda thrown: _log_unhandled(thrown.exc_type, thrown.exc_value, thrown.exc_traceback)


def _log_unhandled(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger().critical("unhandled exception", exc_info=(kind, error or kind(), traceback))


class Subject(logging.Filter):
    """Adds the fields of the current `about` blocks to every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record."""
        for name, value in _about.get().items():
            setattr(record, name, value)
        return True
