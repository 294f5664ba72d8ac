"""A data set by name: files and folders in TRL's formats, saved `datasets`, the Hub, and what is built in.

Given splits are used, missing ones are cut off the training rows; they are disjoint by the prompt's text (`splits`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from homestretch.config.base import nearest
from homestretch.data.columns import columns_of
from homestretch.data.docstrings import load_docstrings
from homestretch.data.files import READERS, RawRow, Reader, read_file, read_hub, read_saved
from homestretch.data.records import COLUMNS, Example, cued, example_from_row
from homestretch.data.splits import SPLITS, Rejected, cut, refuse_leaks, sample, write_rejected
from homestretch.errors import DataError, InputError

OnBadRow = Literal["error", "skip"]
Split = Literal["train", "validation", "test"]
ANSWERS = {"completion", "references", "chosen", "messages"}
"""What a row is answered by; one that has none of these is a prompt."""
SHARES = (0.1, 0.1)
"""Of the prompts that become validation and test where the data has no such split."""
BUILTIN = {"builtin/docstrings": load_docstrings}
_SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation"}
_SPLIT_NAMES |= {"dev": "validation", "eval": "validation", "test": "test"}


@dataclass(frozen=True)
class Splits:
    """Examples to learn from, to choose by and to report on; `description` says in words what they are."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    description: str


def load(
    name_or_path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    prompt_suffix: str = "",
    split: Mapping[str, str] | None = None,
    shares: tuple[float, float] = SHARES,
    check: Callable[[Example], None] | None = None,
    on_bad_row: OnBadRow = "error",
    rejected: Path | None = None,
    max_train: int | None = None,
    max_validation: int | None = None,
    max_test: int | None = None,
    seed: int = 0,
) -> Splits:
    """Load, check and split a data set.

    `columns` maps our names to the data's. `prompt_suffix` is set behind every prompt that is text, not behind the
    document that it is about. `split` maps train, validation or test to the name of a split in the data,
    or to a file. `shares` are the parts of the prompts that become validation and test where the data has no such
    split; 0 for none. `check` may refuse an example by raising DataError. With `on_bad_row="skip"` bad rows go to the
    JSONL file `rejected` (default: rejected.jsonl here) with file, line, reason and the row itself. `max_*` draw a
    seeded sample; a smaller one is part of a larger one. Raises InputError and DataError.
    """
    name = str(name_or_path)
    left_out: list[Rejected] = []
    skipped = left_out if on_bad_row == "skip" else None
    if name.startswith("builtin/"):
        splits, description = _builtin(name)
        splits = {k: [cued(e, prompt_suffix) for e in examples] for k, examples in splits.items()}
    else:
        raw = _read(name, split or {})
        good = {k: _checked(rows, columns or {}, prompt_suffix, check, skipped) for k, rows in raw.items()}
        splits = refuse_leaks(
            {k: with_own_ids([e for e, _ in pairs]) for k, pairs in good.items()},
            {k: [row for _, row in pairs] for k, pairs in good.items()},
            skipped,
        )
        if skipped is not None:
            write_rejected(rejected or Path("rejected.jsonl"), skipped)
        if not splits["train"]:
            if not left_out:
                raise InputError(f"{name}: the split `train` has no rows; give it at least one.")
            raise DataError(f"{left_out[0].reason.rstrip('.')} (no other training row was good either).")
        splits = cut(splits, dict(zip(SPLITS[1:], shares, strict=True)))
        description = _describe(name, splits, left_out)
    limits = {"train": max_train, "validation": max_validation, "test": max_test}
    return Splits(**{k: sample(splits[k], limits[k], seed=seed, name=k) for k in SPLITS}, description=description)


def examples_of(data: str | Path, split: Split = "test") -> list[Example]:
    """All rows of a file, answers not needed; of a folder, a Hub name or a built-in data set the split.

    Raises InputError and DataError.
    """
    path = Path(data)
    if path.suffix.lower() in READERS:
        return [_row(raw) for raw in read_file(path)]
    found: list[Example] = getattr(load(data), split)
    if not found:
        raise InputError(f"{data}: the split `{split}` has no rows; choose another one with --split.")
    return found


def _row(raw: RawRow) -> Example:
    row = columns_of(raw)
    if isinstance(row, dict) and row.get("references") == []:  # of a text that was generated for a prompt alone
        row = {name: value for name, value in row.items() if name != "references"}
    if isinstance(row, dict) and not any(row.get(name) is not None for name in ANSWERS):
        return replace(example_from_row({**row, "completion": "-"}, where=raw.where), completion="", references=())
    return example_from_row(row, where=raw.where)


def _builtin(name: str) -> tuple[dict[str, list[Example]], str]:
    if name not in BUILTIN:
        raise InputError(f"{name}: no such built-in data set; {nearest(name, list(BUILTIN))}")
    return BUILTIN[name]()


def _read(name: str, split: Mapping[str, str]) -> dict[str, list[RawRow]]:
    """Raw rows by split, from wherever the name and the names of splits point; only what is used is read."""
    for ours in split:
        if ours not in SPLITS:
            raise InputError(f"split: there is no split `{ours}`; {nearest(ours, list(SPLITS))}")
    files = {ours: Path(theirs) for ours, theirs in split.items() if Path(theirs).suffix.lower() in READERS}
    readers: dict[str, Reader] = {
        ours: partial(read_file, f if f.exists() else Path(name) / f) for ours, f in files.items()
    }
    names = {ours: theirs for ours, theirs in split.items() if ours not in files}
    if names or "train" not in readers:
        readers = _renamed(_find(name), names, name) | readers
    if "train" not in readers:
        raise InputError(
            f"{name}: there is no split `train`; name its file train, or say which it is with split.train=NAME."
        )
    return {ours: read() for ours, read in readers.items()}


def _find(name: str) -> dict[str, Reader]:
    """What there is under a name, by the data's own names of splits."""
    path = Path(name)
    if path.is_dir():
        if any((path / marker).exists() for marker in ("dataset_dict.json", "state.json")):
            return read_saved(path)
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in READERS)
        twice = [f.name for f in files if sum(f.stem == other.stem for other in files) > 1]
        if twice:
            raise InputError(f"{name}: {' and '.join(twice)} have one name; keep one of them.")
        return {f.stem: partial(read_file, f) for f in files}
    if path.exists():
        return {"train": partial(read_file, path)}
    if path.suffix.lower() in READERS or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise InputError(f"{name}: there is no such file or folder; check the path.")
    return read_hub(name)


def _renamed(found: dict[str, Reader], names: Mapping[str, str], source: str) -> dict[str, Reader]:
    """Splits under our names: the ones asked for, then the usual ones; others (`unsupervised`, ...) are not used."""
    for ours, theirs in names.items():
        if theirs not in found:
            raise InputError(f"{source}: split.{ours}={theirs}: there is no such split; {nearest(theirs, list(found))}")
    usual = {ours: k for k in found for ours in (_SPLIT_NAMES.get(k.lower()),) if ours and k not in names.values()}
    return {ours: found[theirs] for ours, theirs in (usual | dict(names)).items()}


def _checked(
    rows: list[RawRow],
    columns: Mapping[str, str],
    prompt_suffix: str,
    check: Callable[[Example], None] | None,
    skipped: list[Rejected] | None,
) -> list[tuple[Example, RawRow]]:
    """The good rows, each beside the row as it stood."""
    for ours in columns:
        if ours not in COLUMNS:
            raise InputError(f"columns: there is no column `{ours}` to map to; {nearest(ours, list(COLUMNS))}")
    examples = []
    for row in rows:
        try:
            example = cued(example_from_row(columns_of(row, columns), where=row.where), prompt_suffix)
            if check:
                check(example)
        except DataError as error:
            if skipped is None:
                raise
            skipped.append(Rejected(row, str(error)))
        else:
            examples.append((example, row))
    return examples


def with_own_ids(examples: list[Example]) -> list[Example]:
    """Rows that share an id are numbered, since arms are compared row by row; a number whose id is taken is skipped."""
    taken = {example.id for example in examples}
    last: dict[str, int] = {}
    own = []
    for example in examples:
        n = last[example.id] = last.get(example.id, 0) + 1
        if n == 1:
            own.append(example)
            continue
        while f"{example.id}#{n}" in taken:
            n += 1
        last[example.id] = n
        taken.add(f"{example.id}#{n}")
        own.append(replace(example, id=f"{example.id}#{n}"))
    return own


def _describe(name: str, splits: dict[str, list[Example]], left_out: list[Rejected]) -> str:
    counts = ", ".join(f"{k} {len(splits[k]):,}" for k in SPLITS)
    return f"{name}: {counts}" + (f"; {len(left_out):,} rows left out" if left_out else "") + "."
