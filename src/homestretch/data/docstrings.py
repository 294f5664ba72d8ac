"""`builtin/docstrings`: summarise a docstring's body, from source files that every installation has.

Harvested by parsing (never importing) the Python standard library and the packages that homestretch pins, with the
filters of `docstring_filters`. Splits are by top-level package, so nothing of a test package is ever trained on. The
same versions give the same pairs in the same order; they are kept in the user's cache under a key of those versions,
with a digest, so that a damaged file is made again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homestretch.data import docstring_filters, docstring_harvest
from homestretch.data.docstring_filters import content
from homestretch.data.docstring_harvest import STDLIB, harvest
from homestretch.data.records import Example, example_from_row
from homestretch.errors import InputError

TEMPLATE = "{body}\nSummary:"
"""The prompt; the completion is a space and the summary."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "test": ("sklearn", "matplotlib", "mpl_toolkits", "networkx", "pydantic", "jinja2", "joblib", "PIL"),
    "validation": ("scipy", "rich", "peft", "accelerate", "filelock", "requests", "urllib3"),
    "train": (
        STDLIB, "torch", "torchgen", "functorch", "transformers", "sympy", "numpy", "pandas", "nltk", "datasets",
        "huggingface_hub", "tokenizers", "fontTools", "pygments", "mpmath", "narwhals", "setuptools", "fsspec", "gguf",
        "anyio", "absl", "packaging", "pyparsing", "click", "typer", "pyarrow", "portalocker", "sacrebleu", "dateutil",
        "lxml", "multiprocess", "dill", "markdown_it", "yaml", "tqdm", "safetensors", "rouge_score", "regex", "psutil",
        "charset_normalizer", "httpx2", "httpcore2", "h11", "cloudpickle", "contourpy", "tabulate", "threadpoolctl",
        "typing_extensions",
    ),
}  # fmt: skip
"""Test and validation stand first: where two packages share a text, the one that is reported on keeps it."""

_SAME_START = 5  # pairs of a split whose summaries share their first four words
_SHINGLE = 5  # words; a body half of whose shingles were seen before is a near-duplicate


def load_docstrings() -> tuple[dict[str, list[Example]], str]:
    """Examples of each split, and a description of what was found where.

    The first call parses some 9,000 files (under 20 s on two cores); later ones read the cache, in the folder
    HOMESTRETCH_CACHE or ~/.cache/homestretch. Raises InputError where that folder cannot be written.
    """
    path = cache_folder() / f"docstrings-{_key()}.jsonl"
    rows = _read(path)
    if rows is None:
        rows = list(_rows())
        _write(path, rows)
    splits: dict[str, list[Example]] = {name: [] for name in ("train", "validation", "test")}
    for row in rows:
        splits[row.pop("split")].append(example_from_row(row, where=row["id"]))
    return splits, _describe(splits)


def cache_folder() -> Path:
    """Where derived files are kept: HOMESTRETCH_CACHE, or ~/.cache/homestretch."""
    return Path(os.environ.get("HOMESTRETCH_CACHE") or Path.home() / ".cache" / "homestretch")


def _rows() -> Iterator[dict[str, Any]]:
    """New pairs of every split, in an order that mixes the packages."""
    found = harvest([package for packages in PACKAGES.values() for package in packages])
    seen = _Seen()
    for split, packages in PACKAGES.items():
        rows = []
        for package in packages:
            for body, summary, name in found[package]:
                if seen.is_new(body, summary, split):
                    prompt, completion = TEMPLATE.format(body=body), f" {summary}"
                    row = {"id": name, "split": split, "prompt": prompt, "completion": completion}
                    rows.append(row | {"document": body, "package": package})
        yield from sorted(rows, key=lambda row: hashlib.sha256(row["prompt"].encode()).digest())


class _Seen:
    """Texts met so far: refuses repeated summaries and bodies, near-copies, and crowds with one beginning."""

    def __init__(self) -> None:
        self.summaries: set[frozenset[str]] = set()
        self.shingles: set[tuple[str, ...]] = set()
        self.starts: Counter[tuple[str, ...]] = Counter()

    def is_new(self, body: str, summary: str, split: str) -> bool:
        words = re.findall(r"\w+", body.lower())
        shingles = {tuple(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1)}
        stems, start = frozenset(content(summary)), (split, *summary.lower().split()[:4])
        if (
            stems in self.summaries
            or 2 * len(shingles & self.shingles) >= len(shingles)
            or self.starts[start] >= _SAME_START
        ):
            return False
        self.summaries.add(stems)
        self.shingles |= shingles
        self.starts[start] += 1
        return True


def _key() -> str:
    """Changes with any version of a harvested package, and with the code that harvests."""
    names = importlib.metadata.packages_distributions()
    wanted = sorted({d for packages in PACKAGES.values() for p in packages for d in names.get(p, ())})
    parts = [platform.python_version(), *(f"{d}=={importlib.metadata.version(d)}" for d in wanted)]
    code = [Path(f).read_bytes() for f in (__file__, docstring_filters.__file__, docstring_harvest.__file__)]
    return hashlib.sha256("\n".join(parts).encode() + b"".join(code)).hexdigest()[:16]


def _read(path: Path) -> list[dict[str, Any]] | None:
    """The rows of the cache; None where it is not there, or not as it was written."""
    if not path.exists():
        return None
    first, _, lines = path.read_bytes().partition(b"\n")
    return [json.loads(line) for line in lines.splitlines()] if first == _digest(lines) else None


def _digest(lines: bytes) -> bytes:
    return json.dumps({"sha256": hashlib.sha256(lines).hexdigest()}).encode()


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """All rows behind their digest, or no file: written beside and renamed."""
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
            file.write(_digest(lines) + b"\n" + lines)
        Path(file.name).replace(path)
    except OSError as error:
        raise InputError(
            f"{path.parent}: the cache cannot be written ({error.strerror}); "
            "set HOMESTRETCH_CACHE to a folder that can."
        ) from None


def _describe(splits: dict[str, list[Example]]) -> str:
    lines = []
    for name, examples in splits.items():
        packages = Counter(e.columns["package"] for e in examples)
        lines.append(
            f"{name.capitalize()} {len(examples):,}: " + ", ".join(f"{p} {n}" for p, n in packages.most_common()) + "."
        )
    total = sum(map(len, splits.values()))
    return f"{total:,} pairs (docstring body -> summary line), split by package.\n" + "\n".join(lines)
