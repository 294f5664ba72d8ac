"""Files that are whole or not there: written beside their place and renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from homestretch import ranks
from homestretch.errors import InputError

PART = ".part"


def write_text(path: Path, text: str) -> None:
    """UTF-8, as `write_bytes` writes."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside and rename, so that `path` is never half written; of several processes only the first does.

    Raises InputError where it cannot be written.
    """
    if not ranks.is_first():
        return
    with _beside(path) as beside:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSONL, as `write_text` writes."""
    write_text(Path(path), "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def check_writable(path: str | Path) -> None:
    """Raise InputError where a file cannot be written, before the work whose result it is to hold."""
    if ranks.is_first():
        with _beside(Path(path)) as beside:
            beside.touch()


def is_part(path: Path) -> bool:
    """Whether this is a file that `write_bytes` has not renamed yet, or never will where it was killed."""
    return path.name.startswith(".") and path.suffix == PART


def clear_parts(folder: Path) -> None:
    """Delete what killed processes have left half written below a folder in which no other process is at work."""
    for path in folder.rglob(f".*{PART}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """The name of a file beside `path`, which is gone at the end of the block; its errors become an InputError."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}{PART}")
        try:
            yield beside
        finally:
            with contextlib.suppress(OSError):  # what is worth saying is said of the writing
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another output folder or make room."
        ) from None
