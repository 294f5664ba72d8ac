"""Raw rows out of files: JSONL, JSON, CSV, Parquet and saved `datasets` folders, each row with its place."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homestretch.errors import DataError, InputError

_BETWEEN = re.compile(r"[\s,]*")
_DEEPEST = 100
"""Levels of lists and objects in a row; Python itself gives up at some hundreds more."""


@dataclass(frozen=True)
class RawRow:
    """`value` as it stands in the file, `where` as file:line (Parquet and `datasets`: row, from 1), what is wrong with
    it as it stands, if anything, and whether its values are cells, which are all text. `columns` reads it."""

    where: str
    value: Any
    problem: DataError | None = None
    is_csv: bool = False


Reader = Callable[[], list[RawRow]]


def read_file(path: Path) -> list[RawRow]:
    """All rows of one file. Raises InputError where the file is missing, unreadable, empty or of an unknown kind."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        if path.suffix.lower() in (".yaml", ".yml"):
            raise InputError(f"{path} is a recipe, not data; train it with `homestretch train {path}`.")
        raise InputError(
            f"{path}: files of kind `{path.suffix}` cannot be read; use one of {', '.join(sorted(READERS))}."
        )
    try:
        rows = list(reader(path))
    except OSError as error:
        raise InputError(
            f"{path}: the file cannot be read ({error.strerror or error}); check its name and rights."
        ) from None
    if not rows:
        raise DataError(f"{path}:1: the file has no rows; give it at least one.")
    return rows


def parse_json(text: str) -> Any:
    """The value of a text. Raises json.JSONDecodeError, also where it is nested too deeply or a number is too long."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, 0) from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # of `int`
        raise json.JSONDecodeError("a number has too many digits", text, 0) from None
    if text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise json.JSONDecodeError("nested too deeply", text, 0)
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, dict | list)]:
        level = [child for v in level for child in (v.values() if isinstance(v, dict) else v)]
        depth += 1
    return depth


def read_saved(folder: Path) -> dict[str, Reader]:
    """Rows of a folder written by `save_to_disk`, by split; a single data set is all `train`. Raises InputError."""
    import datasets

    try:
        return of_dataset(datasets.load_from_disk(str(folder)), str(folder))
    except (OSError, ValueError, KeyError, IndexError) as error:  # an empty split is one of them
        raise InputError(f"{folder}: the saved data set cannot be read ({_short(error)}); save it again.") from None


def read_hub(name: str) -> dict[str, Reader]:
    """Rows of a data set of the Hub, by split. Raises InputError."""
    import datasets

    try:
        return of_dataset(datasets.load_dataset(name), name)
    except Exception as error:  # noqa: BLE001 - whatever the network, the Hub or a loader raises: the user needs one sentence
        raise InputError(
            f"{name}: no such file or folder here, and the Hub does not give it ({_short(error)}); check the name."
        ) from None


def of_dataset(data: Any, name: str) -> dict[str, Reader]:
    """Rows of a Dataset (all `train`) or a DatasetDict, read when they are wanted."""

    def reader(split: str, rows: Any) -> Reader:
        return lambda: [RawRow(f"{name}/{split}:{i}", row) for i, row in enumerate(rows, 1)]

    splits = data if isinstance(data, dict) else {"train": data}
    return {split: reader(split, rows) for split, rows in splits.items()}


def _jsonl(path: Path) -> Iterator[RawRow]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                text = line.decode("utf-8-sig").strip()
            except UnicodeDecodeError:
                yield RawRow(where, line.decode("utf-8", "replace"), DataError(_not_utf8(where)))
                continue
            if text:
                yield _parsed(where, text)


def _parsed(where: str, text: str) -> RawRow:
    try:
        return RawRow(where, parse_json(text))
    except json.JSONDecodeError as error:
        return RawRow(
            where, text, DataError(f"{where}: not valid JSON ({error.msg}, column {error.colno}); correct the line.")
        )


def _json(path: Path) -> Iterator[RawRow]:
    text = _text(path)
    if not text.strip():
        return
    try:
        rows = parse_json(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise DataError(f"{where}: not valid JSON ({error.msg}, column {error.colno}); correct the file.") from None
    if not isinstance(rows, list):
        raise DataError(
            f"{path}:1: a JSON file must be a list of rows; write `[...]`, or one row a line in a .jsonl file."
        )
    line, seen = 1, 0
    for row, start in zip(rows, _starts(text), strict=True):
        line, seen = line + text.count("\n", seen, start), start
        yield RawRow(f"{path}:{line}", row)


def _starts(text: str) -> Iterator[int]:
    """Where each element of a valid JSON list begins, so that its line can be told."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    while text[position := position + len(_BETWEEN.match(text, position)[0])] != "]":
        yield position
        position = decoder.raw_decode(text, position)[1]


def _csv(path: Path) -> Iterator[RawRow]:
    rows = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1
    try:
        names = rows.fieldnames or []
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{path}:1: the header names `{twice}` twice; give each column a name of its own.")
        line += rows.line_num if names else 0
        for row in rows:
            where = f"{path}:{line}"
            extra = row.pop(None, None)
            problem = DataError(f"{where}: more cells than the header has names; quote the commas.") if extra else None
            yield RawRow(where, row, problem, is_csv=True)
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: not valid CSV ({error}); correct the file, or write it as .jsonl.") from None


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # dates, say, that Python cannot hold
        raise DataError(f"{path}:1: not valid Parquet ({_short(error)}); write the file again.") from None
    yield from (RawRow(f"{path}:{i}", row) for i, row in enumerate(rows, 1))


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(_not_utf8(f"{path}:{line}")) from None


def _not_utf8(where: str) -> str:
    return f"{where}: not UTF-8 text; save the file as UTF-8."


def _short(error: BaseException) -> str:
    """The first line of a foreign error, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(". ")


READERS: dict[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
