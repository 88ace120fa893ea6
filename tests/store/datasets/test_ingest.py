"""Datasets on their way in: every packing gives the same rows; bombs, cuts and damage leave nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from store.artifacts.paths import Artifacts
from store.datasets.compression import PIECE, GzipDecoder, ZstdDecoder
from store.datasets.ingest import Expected, Ingest
from store.datasets.jsonl import InvalidDataset
from store.datasets.pipeline import FREE_BYTES, MAX_RATIO
from store.errors import TooLarge
from store.settings import Settings
from store.tables import Dataset
from tests.conftest import ROOT
from tests.uniapl.spec.importers.test_rows import IF_RLVR, IFEVAL, TRL
from uniapl.errors import DatasetError

pytestmark = pytest.mark.integration

TRAIN = (ROOT / "examples" / "data" / "train.jsonl").read_bytes()
GIB = 1024**3


def chunks(data: bytes, size: int = 65_536) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def ingest(folder: Path, pieces: Iterable[bytes], expected: Expected = Expected(), **settings: Any) -> Dataset:
    with Ingest(Artifacts(folder), Settings(data_dir=folder, **settings), "ds_1") as upload:
        for piece in pieces:
            upload.feed(piece)
        return upload.finish("rows", expected)


def stored(folder: Path) -> bytes:
    return Artifacts(folder).dataset("ds_1").read_bytes()


def left(folder: Path) -> list[Path]:
    return list((folder / "datasets").iterdir())


def as_parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    columns = {name: None for row in rows for name in row}
    parquet.write_table(pyarrow.Table.from_pylist([columns | row for row in rows]), buffer, **options)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


ROWS = [json.loads(line) for line in TRAIN.splitlines()]
PLAIN_ROWS = [{"messages": row["messages"], "reference": row["reference"]} for row in ROWS]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in PLAIN_ROWS)
HALF = len(LINES) // 2
PACKED = {
    "plain": LINES,
    "no newline at the end": LINES[:-1],
    "byte order mark, carriage returns, blank lines": b"\xef\xbb\xbf" + LINES.replace(b"\n", b" \r\n\r\n"),
    "gzip": gzip.compress(LINES),
    "two gzips": gzip.compress(LINES[:HALF]) + gzip.compress(b"") + gzip.compress(LINES[HALF:]),
    "zstd": zstd(LINES),
    "two zstds": zstd(LINES[:HALF]) + zstd(b"") + zstd(LINES[HALF:]),
}


@pytest.mark.parametrize("size", [1, 7, 65_536])
@pytest.mark.parametrize("packing", PACKED)
def test_every_packing_gives_the_same_rows(tmp_path: Path, packing: str, size: int) -> None:
    data = PACKED[packing]
    dataset = ingest(tmp_path, chunks(data, size))
    assert stored(tmp_path) == LINES
    assert (dataset.rows, dataset.references, dataset.rewards) == (len(ROWS), len(ROWS), 0)
    assert (dataset.bytes, dataset.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(left(tmp_path)) == 1


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "row_group_size": 7}, {"use_dictionary": False}])
def test_parquet_gives_the_same_rows(tmp_path: Path, pack: Callable[[bytes], bytes], options: dict[str, Any]) -> None:
    data = pack(as_parquet(PLAIN_ROWS, **options))
    dataset = ingest(tmp_path, chunks(data, 1000))
    assert [json.loads(line) for line in stored(tmp_path).splitlines()] == PLAIN_ROWS
    assert (dataset.bytes, dataset.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(left(tmp_path)) == 1


@pytest.mark.parametrize("cases", [TRL[:2], TRL[2:3], TRL[4:5], TRL[7:8], IF_RLVR[:2], IFEVAL[:2]])
def test_parquet_of_other_tools_gives_the_rows_that_it_means(tmp_path: Path, cases: list[Any]) -> None:
    """With columns that are null in some rows, and structs that have every row's keys."""
    extra = [given | {"score": float("nan"), "raw": b"\x00\xff"} for given, _ in cases]
    ingest(tmp_path, [as_parquet(extra)])
    assert [json.loads(line) for line in stored(tmp_path).splitlines()] == [meant for _, meant in cases]


def test_parquet_rows_of_ours_with_rewards_lose_what_only_fills_a_column(tmp_path: Path) -> None:
    rows = [
        {"messages": PLAIN_ROWS[0]["messages"], "reward": {"type": "length_band", "at_least": 3}},
        {"messages": PLAIN_ROWS[1]["messages"], "reward": {"type": "regex", "pattern": "ü+"}},
    ]
    ingest(tmp_path, [as_parquet(rows)])
    assert [json.loads(line) for line in stored(tmp_path).splitlines()] == rows


def bad_rows() -> list[dict[str, Any]]:
    return [*PLAIN_ROWS[:3], {"messages": [{"role": "user", "content": ""}]}, PLAIN_ROWS[3], {"messages": []}]


def test_bad_lines_are_named_by_where_they_are_once_unpacked(tmp_path: Path) -> None:
    lines = [json.dumps(row).encode() + b"\n" for row in bad_rows()]
    with pytest.raises(InvalidDataset, match=r"2 bad lines, first: line 4: messages\.0\.content") as caught:
        ingest(tmp_path, [gzip.compress(b"".join(lines))])
    places = [(problem.line, problem.offset) for problem in caught.value.problems]
    assert places == [(4, len(b"".join(lines[:3]))), (6, len(b"".join(lines[:5])))]
    assert left(tmp_path) == []


@pytest.mark.parametrize("text", [json.dumps(PLAIN_ROWS[:2]), json.dumps(PLAIN_ROWS[:2], indent=1)])
def test_an_array_is_refused_with_the_command_that_converts_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDataset, match=r"first: line 1: the file is a JSON array.*jq -c"):
        ingest(tmp_path, [text.encode()])


def test_at_most_twenty_bad_lines_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset) as caught:
        ingest(tmp_path, [b"[]\n" * 50])
    assert len(caught.value.problems) == 20
    assert left(tmp_path) == []


def test_bad_rows_of_parquet_are_named_by_their_number(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"2 bad rows, first: row 4: messages\.0\.content") as caught:
        ingest(tmp_path, [as_parquet(bad_rows())])
    assert [(problem.line, problem.offset) for problem in caught.value.problems] == [(4, None), (6, None)]
    assert left(tmp_path) == []


COLUMNS = [
    {"prompt": "Hi", "completion": "7.", "source": "a", "raw": b"\x00", "score": 1.5, "meta": {"a": 1}},
    {"prompt": "Hi", "completion": "7.", "source": None, "raw": None, "score": float("nan"), "meta": {"a": 1}},
    {"prompt": "Hi", "completion": "7.", "source": "b", "raw": b"\x01", "score": None, "meta": {"a": 2}},
]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bytes])
def test_fields_that_are_not_read_are_counted(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    rows = [{name: value for name, value in row.items() if name != "raw"} for row in COLUMNS]
    rows[0]["source"] = rows[0]["meta"] = None
    lines = "\n".join(json.dumps(row).replace("NaN", "null") for row in rows).encode()
    assert ingest(tmp_path, [pack(lines)]).ignored_fields == {"source": 1, "score": 1, "meta": 2}


def test_columns_that_are_not_read_are_counted(tmp_path: Path) -> None:
    """Of columns of bytes no row is looked at."""
    found = ingest(tmp_path, [as_parquet(COLUMNS)])
    assert (found.rows, found.references) == (3, 3)
    assert found.ignored_fields == {"source": 2, "raw": 3, "score": 1, "meta": 3}
    assert b"source" not in stored(tmp_path)


PICTURE = {"bytes": b"\x00", "path": "a.png"}


@pytest.mark.parametrize("image", [PICTURE, [PICTURE], ["a.png"], "a.png"])
def test_a_column_of_pictures_is_refused_and_an_empty_one_is_not(tmp_path: Path, image: Any) -> None:
    row = {"prompt": "Hi", "completion": "7."}
    with pytest.raises(InvalidDataset, match="first: row 1: image: students read text"):
        ingest(tmp_path, [as_parquet([row | {"image": image}])])
    kind = pyarrow.array([image]).type
    for empty in [None, *([[]] if isinstance(image, list) else [])]:
        table = pyarrow.table({"prompt": ["Hi"], "completion": ["7."], "image": pyarrow.array([empty], kind)})
        parquet.write_table(table, buffer := io.BytesIO())
        assert ingest(tmp_path, [buffer.getvalue()]).ignored_fields == {}


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FOREIGN = {
    "CSV": (b"prompt,completion\nHi,7.\n", "line 1: the file is CSV.*read_csv"),
    "CSV with semicolons": (b"prompt;completion\n", r"line 1: the file is CSV.*sep=';'"),
    "TSV": (b"prompt\tcompletion\nHi\t7.\n", r"line 1: the file is TSV.*sep='\\t'"),
    "an indented object": (b'{\n  "prompt": "Hi"\n}\n', r"line 1: the file has an object over several lines.*jq -c \."),
    "UTF-16": (LINES.decode().encode("utf-16"), "line 1: the file is UTF-16.*iconv"),
    "UTF-16 without a mark": (LINES.decode().encode("utf-16-le"), "line 1: the file is UTF-16.*iconv"),
    "Latin 1": (LINES[:-1] + '\n{"prompt": "Größe"}\n'.encode("latin-1"), "the line is not UTF-8.*iconv -f LATIN1"),
    "a pointer of Git LFS": (LFS, "line 1: the file is a pointer of Git LFS.*git lfs pull"),
    "HTML": (b"<!doctype html>\n<title>404</title>", "line 1: the file is HTML or XML"),
    "zip": (b"PK\x03\x04\x14\x00rows.jsonl", "line 1: the file is a zip archive; unpack it"),
    "bzip2": (b"BZh91AY&SY\x00\n", "line 1: the file is compressed with bzip2; unpack it"),
    "Arrow": (b"\xff\xff\xff\xff\x80\x01\x00\x00", "line 1: the file is an Arrow stream; write it as Parquet"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_refused_with_what_converts_it(tmp_path: Path, kind: str) -> None:
    data, expected = FOREIGN[kind]
    with pytest.raises(InvalidDataset, match=expected):
        ingest(tmp_path, chunks(data))
    assert left(tmp_path) == []


def test_an_array_that_is_longer_than_a_line_may_be_is_refused_as_an_array(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"line 1: the file is a JSON array.*jq -c"):
        ingest(tmp_path, [json.dumps(PLAIN_ROWS).encode()], max_line_bytes=1024)


def test_an_answer_in_a_column_that_is_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="1 bad rows, first: row 2: solution: ignored field"):
        ingest(tmp_path, [as_parquet([{"prompt": "Hi", "solution": None}, {"prompt": "Hi", "solution": "Add them."}])])


def test_parquet_without_a_known_column_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"20 bad rows.*unknown fields 'text'; use"):
        ingest(tmp_path, [as_parquet([{"text": "The sky is blue."}] * 1000)])


@pytest.mark.parametrize(
    "nothing",
    [b"", b"\n", b" \n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0), zstd(b"\n"), as_parquet([])],
)
def test_nothing_is_no_dataset(tmp_path: Path, nothing: bytes) -> None:
    with pytest.raises(InvalidDataset, match="empty"):
        ingest(tmp_path, [nothing])
    assert left(tmp_path) == []


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda data: as_parquet(PLAIN_ROWS)])
def test_what_is_cut_anywhere_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    data = pack(LINES)
    cuts = [4, 5, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 4, len(data) - 1]
    for cut in cuts:
        with pytest.raises(DatasetError, match=r"truncated|cannot be read"):
            ingest(tmp_path, chunks(data[:cut]))
        assert left(tmp_path) == []


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_what_is_damaged_anywhere_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    data = pack(LINES)
    rng = random.Random(0)
    for _ in range(30):
        place = rng.randrange(12, len(data))
        damaged = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        with pytest.raises((DatasetError, InvalidDataset)):
            ingest(tmp_path, chunks(damaged))
        assert left(tmp_path) == []


@pytest.mark.parametrize("magic", [b"", b"\x1f\x8b", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1"])
def test_garbage_is_refused(tmp_path: Path, magic: bytes) -> None:
    for seed in range(4):
        garbage = magic + random.Random(seed).randbytes(3000)
        for data in (garbage, garbage + magic, magic):
            with pytest.raises((DatasetError, InvalidDataset)):
                ingest(tmp_path, [data])
            assert left(tmp_path) == []


def test_parquet_that_is_damaged_anywhere_gives_rows_or_is_refused(tmp_path: Path) -> None:
    """It need not have checksums; but its reader may not hang, nor take us with it."""
    data = as_parquet(PLAIN_ROWS)
    rng = random.Random(0)
    absurd = data[:-8] + b"\xff\xff\xff\x7fPAR1"
    places = [len(data) - rng.randrange(1, 2000) for _ in range(8)]  # its index, and its header
    for damaged in (absurd, *(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in places)):
        try:
            ingest(tmp_path, chunks(damaged))
        except (DatasetError, InvalidDataset):
            assert left(tmp_path) == []
        else:
            assert stored(tmp_path)
            Artifacts(tmp_path).dataset("ds_1").unlink()


def test_the_reason_why_parquet_is_refused_names_no_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        ingest(tmp_path, [b"PAR1" + b"x" * 1000 + b"PAR1"])
    assert "cannot be read" in caught.value.message
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("outer", [gzip.compress, zstd])
@pytest.mark.parametrize("inner", [gzip.compress, zstd])
def test_what_is_compressed_twice_is_refused(
    tmp_path: Path, outer: Callable[[bytes], bytes], inner: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(DatasetError, match="more than once"):
        ingest(tmp_path, [outer(inner(LINES))])


def test_a_zstd_window_that_takes_much_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(DatasetError, match="window of more than 8 MiB") as caught:
        ingest(tmp_path, [packer.compress(LINES * 10) + packer.flush()])
    assert "--long" in (caught.value.hint or "")


def ten_gigabytes(kind: str, content: str, blocks: int = 1000) -> Iterable[bytes]:
    """Ten billion bytes, packed."""
    line = LINES[: LINES.index(b"\n") + 1]
    block = {"zeros": b"\0" * 10_000_000, "newlines": b"\n" * 10_000_000, "rows": line * (10_000_000 // len(line))}[
        content
    ]
    packer = zlib.compressobj(9, wbits=31) if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
    for _ in range(blocks):
        yield packer.compress(block)
    yield packer.flush()


@pytest.mark.parametrize("content", ["zeros", "newlines", "rows"])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_ten_gigabytes_out_of_little_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, content: str
) -> None:
    written = sent = 0
    take = Ingest.feed

    def feed(self: Ingest, chunk: bytes) -> None:
        nonlocal written, sent
        sent += len(chunk)
        try:
            take(self, chunk)
        finally:
            self._file.flush()
            written = max(written, Artifacts(tmp_path).upload("ds_1").stat().st_size)

    monkeypatch.setattr(Ingest, "feed", feed)
    started = time.process_time()
    with pytest.raises((DatasetError, InvalidDataset), match=r"times their size|longer than 4194304 bytes"):
        ingest(tmp_path, ten_gigabytes(kind, content))
    assert time.process_time() - started < 20
    assert sent < 1_000_000
    assert written <= FREE_BYTES + MAX_RATIO * sent
    assert left(tmp_path) == []


class Longest:
    """A sink that measures pieces."""

    def __init__(self) -> None:
        self.bytes = self.longest = 0

    def feed(self, piece: bytes) -> None:
        self.bytes += len(piece)
        self.longest = max(self.longest, len(piece))

    def finish(self) -> None:
        pass


@pytest.mark.parametrize(("kind", "unpack"), [("gzip", GzipDecoder), ("zstd", ZstdDecoder)])
def test_no_piece_is_long_whatever_one_chunk_unfolds_to(kind: str, unpack: type[GzipDecoder | ZstdDecoder]) -> None:
    found = Longest()
    sink = unpack(found)
    sink.feed(b"".join(ten_gigabytes(kind, "zeros", blocks=50)))
    sink.finish()
    assert found.bytes == 500_000_000
    assert found.longest <= PIECE


def test_a_small_dataset_may_say_one_thing_again_and_again(tmp_path: Path) -> None:
    line = LINES[: LINES.index(b"\n") + 1]
    rows = FREE_BYTES // len(line) - 1
    assert ingest(tmp_path, [zstd(line * rows)]).rows == rows


def test_a_parquet_file_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    data = as_parquet([{"prompt": "a" * 100_000}] * 3000)
    assert len(data) < 1_000_000
    with pytest.raises(DatasetError, match="times their size"):
        ingest(tmp_path, chunks(data))
    assert left(tmp_path) == []


def test_a_parquet_file_that_wants_much_memory_is_refused(tmp_path: Path) -> None:
    table = pyarrow.table({"prompt": pyarrow.array(["a" * 400_000_000])})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd", use_dictionary=False, write_statistics=False)
    with pytest.raises(DatasetError, match="more than 512 MiB of memory"):
        ingest(tmp_path, [buffer.getvalue()], max_line_bytes=GIB)
    assert left(tmp_path) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: as_parquet(PLAIN_ROWS)])
def test_more_than_the_operator_allows_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TooLarge, match="exceeds 20000 bytes"):
        ingest(tmp_path, chunks(pack(LINES)), max_dataset_bytes=20_000)
    assert left(tmp_path) == []
    assert ingest(tmp_path, chunks(pack(LINES)), max_dataset_bytes=10 * len(LINES)).rows == len(ROWS)


def test_a_line_that_is_too_long_is_refused_before_it_ends(tmp_path: Path) -> None:
    endless = (b"a" * 65_536 for _ in range(10**6))
    with pytest.raises(InvalidDataset, match="line 2: the line is longer than 100000 bytes"):
        ingest(
            tmp_path,
            (b"".join([LINES[: LINES.index(b"\n") + 1], next(endless)]), *(next(endless) for _ in range(3))),
            max_line_bytes=100_000,
        )
    assert left(tmp_path) == []


def test_what_is_not_what_was_stated_is_refused(tmp_path: Path) -> None:
    right = hashlib.sha256(LINES).hexdigest()
    with pytest.raises(DatasetError, match=f"expected {len(LINES) + 1} bytes, received {len(LINES)}") as caught:
        ingest(tmp_path, chunks(LINES), Expected(bytes=len(LINES) + 1))
    assert caught.value.param == "bytes"
    with pytest.raises(DatasetError, match=f"the received data have SHA-256 {right}") as caught:
        ingest(tmp_path, chunks(LINES), Expected(sha256="0" * 64))
    assert caught.value.param == "sha256"
    assert left(tmp_path) == []
    assert ingest(tmp_path, chunks(LINES), Expected(len(LINES), right)).rows == len(ROWS)
