"""Streaming parser of `multipart/form-data`: it collects small fields and passes on the bytes of one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from uniapl.errors import SpecError

MAX_FIELDS = 20
MAX_FIELD_BYTES = 4096


@dataclass
class _Part:
    """The part of the form that is being read."""

    name: str = ""
    value: bytearray = field(default_factory=bytearray)


class Form:
    """A form that is parsed as it arrives; only its small fields are held in memory."""

    def __init__(self, content_type: str, on_file: Callable[[bytes], None]) -> None:
        """
        Args:
            content_type: the request's header.
            on_file: receives the bytes of the part named `file`.

        Raises:
            SpecError: the body is not a form.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise SpecError(
                f"the content type is {content_type or 'missing'}, not multipart/form-data",
                param="content-type",
                hint="send a form with the fields purpose and file",
            )
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """Name of the file on the client; None before the file begins."""
        self._on_file = on_file
        self._part = _Part()
        self._header, self._value = bytearray(), bytearray()
        self._ended = False
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._take_header,
                "on_part_data": self._take_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes.

        Raises:
            SpecError: the form is malformed, or has too many or too long fields.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise SpecError(f"the form is malformed: {error}", param="file") from None

    def finish(self) -> None:
        """Check the form at the end of the body.

        Raises:
            SpecError: the form is incomplete or has no file.
        """
        if not self._ended:
            raise SpecError("the form is incomplete", param="file", hint="send it again")
        if self.filename is None:
            raise SpecError("the form has no file", param="file", hint="add a part named `file`")

    def _begin(self) -> None:
        if len(self.fields) >= MAX_FIELDS:
            raise SpecError(
                f"the form has more than {MAX_FIELDS} fields", param="file", hint="send `purpose` and `file` only"
            )
        self._part = _Part()

    def _take_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = options.get(b"name", b"").decode(errors="replace")
            if self._part.name == "file":
                if self.filename is not None:
                    raise SpecError("the form has two files", param="file", hint="send each in a request of its own")
                self.filename = options.get(b"filename", b"").decode(errors="replace") or "file"
        self._header.clear()
        self._value.clear()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == "file":
            self._on_file(data[start:end])
        elif len(self._part.value) + end - start > MAX_FIELD_BYTES:
            raise SpecError(f"the field is longer than {MAX_FIELD_BYTES} bytes", param=self._part.name[:100])
        else:
            self._part.value += data[start:end]

    def _end(self) -> None:
        if self._part.name != "file":
            self.fields[self._part.name[:100]] = self._part.value.decode(errors="replace")

    def _finish(self) -> None:
        self._ended = True
