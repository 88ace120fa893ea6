"""Common parts of all commands: connection, text and JSON output, exit statuses of errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uniapl_client.errors import APIConnectionError, APIStatusError, JobFailed, UniaplClientError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from uniapl_client import Client

EXIT_ERROR, EXIT_FAILED, EXIT_CANCELLED, EXIT_UNREACHABLE, EXIT_INTERRUPTED = 1, 3, 4, 5, 130
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class App:
    """Global options of the command line."""

    url: str | None
    json: bool

    def client(self) -> Client:
        """A client; imported here to keep `--help` fast."""
        from uniapl_client import Client

        return Client(self.url)

    def show(self, answer: BaseModel, text: str) -> None:
        """Print a response as JSON, or the given text."""
        click.echo(answer.model_dump_json() if self.json else text)

    def show_list(self, items: Iterable[BaseModel], line: Callable[[Any], str], heading: str = "") -> None:
        """Print a list as one JSON object, or as one line per item."""
        if self.json:
            click.echo(json.dumps({"object": "list", "data": [item.model_dump(mode="json") for item in items]}))
            return
        if heading:
            click.echo(heading)
        for item in items:
            click.echo(line(item))


class Commands(click.Group):
    """Command group that accepts `--json` at any position and converts errors to messages and exit statuses."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta["json"] = "--json" in args
        return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except UniaplClientError as error:
            _print_error(context, error, _notes(error))
            sys.exit(_status(error))
        except click.ClickException as error:
            if not context.meta["json"]:
                raise
            _print_error(context, error)
            sys.exit(error.exit_code)
        except OSError as error:
            _print_error(context, error)
            sys.exit(EXIT_ERROR)
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)


def json_option(function: Function) -> Function:
    """`--json`, for a command."""
    text = "Print JSON on stdout, and errors as JSON on stderr."
    return click.option("--json", is_flag=True, expose_value=False, help=text)(function)


def _status(error: UniaplClientError) -> int:
    if isinstance(error, JobFailed):
        return EXIT_CANCELLED if error.job.state == "cancelled" else EXIT_FAILED
    return EXIT_UNREACHABLE if isinstance(error, APIConnectionError) else EXIT_ERROR


def _notes(error: UniaplClientError) -> Sequence[str]:
    problems = error.errors if isinstance(error, APIStatusError) else []
    lines = [" ".join(f"{key}={value}" for key, value in problem.items()) for problem in problems]
    return [*lines, *getattr(error, "__notes__", ())]


def _print_error(context: click.Context, error: Exception, notes: Sequence[str] = ()) -> None:
    if not context.meta["json"]:
        click.echo("\n  ".join([f"error: {error}", *notes]), err=True)
        return
    body: dict[str, Any] = {"type": type(error).__name__, "message": getattr(error, "message", str(error))}
    if isinstance(error, UniaplClientError):
        body |= {name: getattr(error, name, None) for name in ("code", "param", "status", "request_id", "errors")}
    click.echo(json.dumps({"error": body | {"notes": list(getattr(error, "__notes__", ()))}}), err=True)
