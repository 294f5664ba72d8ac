"""Two run folders compared file by file: everything must be the same but times and peaks of memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homestretch.locking import FILE

STAGE_ROW = re.compile(r'(<span class="status \w+">\w+</span></td>).*?</tr>')


def differences(ours: Path, theirs: Path) -> list[str]:
    """Names of files that only one of two folders has, or that say something else there."""
    first, second = contents(ours), contents(theirs)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder, by its path there; that of a lock says only who held it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != FILE]
    return {str(path.relative_to(folder)): _digest(path) for path in files}


def _digest(path: Path) -> str:
    timeless = TIMED.get(path.name)
    data = path.read_bytes() if timeless is None else timeless(path.read_text(encoding="utf-8")).encode()
    return hashlib.sha256(data).hexdigest()


def _without(*keys: str) -> Callable[[str], str]:
    def timeless(text: str) -> str:
        return json.dumps(_pruned(json.loads(text), keys))

    return timeless


def _pruned(values: Any, keys: tuple[str, ...]) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: _pruned(value, keys) for key, value in values.items() if key not in keys}


def _rows(text: str) -> str:
    return "\n".join(_without("seconds")(line) for line in text.splitlines())


TIMED: dict[str, Callable[[str], str]] = {
    "stage.json": _without("seconds", "peak_memory_bytes"),
    "state.json": _without("seconds", "sha256"),
    "results.json": _without("timings"),
    "metrics.jsonl": _rows,
    "report.html": lambda text: STAGE_ROW.sub(r"\1</tr>", text),
}
"""What is left of files that hold times, by their names."""
