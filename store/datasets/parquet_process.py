"""Parquet to JSON Lines converter: `python parquet_process.py FILE COLUMN,COLUMN…` prints the rows.

Other columns are printed as `true` where they have a value: only their names are counted.

A separate process, because the file is untrusted: memory use and crashes of the parser stay in it. Exit status: 0 done;
65 not readable, with the reason on standard error; 66 too much memory.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from typing import Any

MEMORY = 512 * 1024 * 1024
"""Memory limit in bytes; a page or row that needs more is rejected."""
CPU_S = 3600
BATCH = 16
"""Rows in memory at once."""
UNREADABLE, TOO_LARGE = 65, 66


def main(path: str, columns: list[str]) -> int:
    """Print the rows; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    import pyarrow
    from pyarrow.parquet import ParquetFile

    out = sys.stdout.buffer
    try:
        file = ParquetFile(path, buffer_size=64 * 1024, pre_buffer=False, page_checksum_verification=True)
        names = file.schema_arrow.names
        read = [name for name in names if name in columns or not _is_binary(file.schema_arrow.field(name).type)]
        unread = [name for name in names if name not in read and not _is_all_null(file.metadata, name)]
        for batch in file.iter_batches(batch_size=BATCH, columns=read, use_threads=False):
            known = batch.select([name for name in read if name in columns])
            others = {name: _filled(batch.column(name)) for name in read if name not in columns}
            others |= {name: [True] * batch.num_rows for name in unread}
            for number, row in enumerate(known.to_pylist(maps_as_pydicts="strict")):
                row |= {name: True for name, filled in others.items() if filled[number]}
                out.write(json.dumps(_present(row), default=str, ensure_ascii=False).encode() + b"\n")
        out.flush()
    except (MemoryError, pyarrow.ArrowMemoryError):
        return TOO_LARGE
    except BrokenPipeError:
        os._exit(UNREADABLE)  # the reader is gone; a flush would fail again
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        print(str(error).replace(path, "the file")[:300], file=sys.stderr)
        return UNREADABLE
    return 0


def _is_binary(kind: Any) -> bool:
    """Whether a column holds bytes, such as images, whose values are not worth reading."""
    return "binary" in str(kind)


def _filled(column: Any) -> list[bool]:
    """Whether each row has a value."""
    import pyarrow

    empty: list[bool] = column.is_null(nan_is_null=True).to_pylist()
    if not pyarrow.types.is_nested(column.type) or not hasattr(column, "value_lengths"):
        return [not is_empty for is_empty in empty]
    return [bool(length) for length in column.value_lengths().to_pylist()]


def _is_all_null(metadata: Any, name: str) -> bool:
    """Whether the statistics of a column, or of all its parts, count nulls only."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    parts = [group.column(place) for group in groups for place in range(group.num_columns)]
    parts = [part for part in parts if part.path_in_schema.split(".")[0] == name]
    counts = [part.statistics.null_count if part.statistics is not None else None for part in parts]
    return all(count == part.num_values for count, part in zip(counts, parts, strict=True))


def _present(value: Any) -> Any:
    """A value without padding: a key that a row lacks is null or NaN in its struct."""
    if isinstance(value, dict):
        found = ((key, _present(item)) for key, item in value.items())
        return {key: item for key, item in found if item is not None}
    if isinstance(value, list):
        return [_present(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2].split(",")))
