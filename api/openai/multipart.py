"""`multipart/form-data` read as a stream: small fields are collected, the bytes of the one file are passed on."""

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
    """One part of the form, on its way in."""

    name: str = ""
    value: bytearray = field(default_factory=bytearray)


class Form:
    """Takes a form's bytes as they come; memory holds its small fields only."""

    def __init__(self, content_type: str, on_file: Callable[[bytes], None]) -> None:
        """
        Args:
            content_type: the request's header.
            on_file: is given the bytes of the part named `file`.

        Raises:
            SpecError: the body is no form.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise SpecError(
                f"the body is {content_type or 'of no stated type'}, not multipart/form-data",
                param="content-type",
                hint="send a form with the fields purpose and file",
            )
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """What the file is called where it comes from; None as long as none has come."""
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
        """Take the next bytes.

        Raises:
            SpecError: they are no form, or its fields are too many or too long.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise SpecError(f"the form is malformed: {error}", param="file") from None

    def finish(self) -> None:
        """The body has ended.

        Raises:
            SpecError: the form has not, or held no file.
        """
        if not self._ended:
            raise SpecError("the form broke off", param="file", hint="send it again")
        if self.filename is None:
            raise SpecError("the form has no file", param="file", hint="add a part with the name file")

    def _begin(self) -> None:
        if len(self.fields) >= MAX_FIELDS:
            raise SpecError(f"the form has more than {MAX_FIELDS} fields", param="file")
        self._part = _Part()

    def _take_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = options.get(b"name", b"").decode(errors="replace")
            if self._part.name == "file":
                if self.filename is not None:
                    raise SpecError("the form has two files", param="file", hint="send them in two requests")
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
