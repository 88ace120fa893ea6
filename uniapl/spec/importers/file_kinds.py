"""Recognition of files that are not JSON Lines, by their first line, and the command that converts each."""

from __future__ import annotations

import re

from uniapl.spec.importers.objects import NOT_JSON

ARRAY = "the file is a JSON array; write one object per line, for example with: jq -c '.[]' rows.json > rows.jsonl"
_OBJECT = (
    "the file has an object over several lines; write one per line, for example with: jq -c . rows.json > rows.jsonl"
)
_TABLE = (
    'the file is {kind}; write one JSON object per line, for example with: python -c "import pandas; pandas.read_csv('
    "'rows.csv'{option}).to_json('rows.jsonl', orient='records', lines=True)\""
)
_UTF_16 = "the file is UTF-16; write it as UTF-8, for example with: iconv -f UTF-16 -t UTF-8 rows.jsonl > utf8.jsonl"
_NOT_UTF_8 = (
    "the line is not UTF-8; convert the file, for example with: iconv -f LATIN1 -t UTF-8 rows.jsonl > utf8.jsonl"
)
_PACKED = "the file is {kind}; unpack it, and upload JSON Lines or Parquet, plain, gzip or zstd"
_BEGINNINGS = {
    b"[": ARRAY,
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"version https://git-lfs": "the file is a pointer of Git LFS, not its data; download them with: git lfs pull",
    b"<": "the file is HTML or XML, such as the error page of a download; download the dataset again",
    b"PK\x03\x04": _PACKED.format(kind="a zip archive"),
    b"BZh": _PACKED.format(kind="compressed with bzip2"),
    b"\xfd7zXZ": _PACKED.format(kind="compressed with xz"),
    b"7z\xbc\xaf": _PACKED.format(kind="a 7z archive"),
    b"ARROW1": "the file is an Arrow file; write it as Parquet, for example with Dataset.to_parquet",
    b"\xff\xff\xff\xff": "the file is an Arrow stream; write it as Parquet, for example with Dataset.to_parquet",
    b"SQLite format 3": "the file is an SQLite database; export its rows as JSON Lines",
}
"""Reasons by the first bytes of a file."""
_TABLES = ((b"\t", "TSV", ", sep='\\t'"), (b";", "CSV", ", sep=';'"), (b",", "CSV", ""))
"""Separators of tables, the name of each kind, and its option of pandas."""
_PRETTY = re.compile(rb"\{\s*|\{.*[,\[{]\s*", re.DOTALL)
_HEADER = re.compile(rb"[^{}\[\]]+")


def line_problem(line: bytes, error: str, *, is_first: bool) -> str:
    """The reason why a line is no row: how to convert its file if that is not JSON Lines, else `error`.

    Args:
        line: the line, or its beginning.
        error: from reading the line as a row.
        is_first: whether it is the first line of the file.
    """
    if not error.startswith(NOT_JSON) and not line.lstrip().startswith(b"["):
        return error
    return (_file_problem(line.lstrip()) if is_first else None) or _encoding_problem(line) or error


def _file_problem(line: bytes) -> str | None:
    """How to convert a file with this first line; `None` if it may be JSON Lines."""
    for beginning, reason in _BEGINNINGS.items():
        if line.startswith(beginning):
            return reason
    if b"\x00" in line[:64]:
        return _UTF_16
    if _PRETTY.fullmatch(line):
        return _OBJECT
    if _HEADER.fullmatch(line):
        return next(
            (_TABLE.format(kind=kind, option=option) for separator, kind, option in _TABLES if separator in line), None
        )
    return None


def _encoding_problem(line: bytes) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError:
        return _NOT_UTF_8
    return None
