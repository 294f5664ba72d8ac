"""Splits that share no prompt: leaks refused, missing splits cut off, samples drawn, rejected rows kept."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

from homestretch import ranks
from homestretch.data.files import RawRow
from homestretch.data.records import Example, prompt_key
from homestretch.errors import DataError, InputError
from homestretch.seeds import fold

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Rejected:
    """A row that was left out, as it stood, and why."""

    row: RawRow
    reason: str


def refuse_leaks(
    splits: dict[str, list[Example]], raw: dict[str, list[RawRow]], left_out: list[Rejected] | None
) -> dict[str, list[Example]]:
    """The splits without prompts that stand in two of them. `raw` are the rows of the examples, in their order.

    Such a row stays where it is reported on (test before validation before train) and the other goes to `left_out`;
    DataError where that is None.
    """
    first: dict[str, Example] = {}
    clean: dict[str, list[Example]] = {}
    for name in reversed([s for s in SPLITS if s in splits]):
        clean[name] = []
        for example, row in zip(splits[name], raw[name], strict=True):
            other = first.get(prompt_key(example))
            if other is None:
                clean[name].append(example)
                continue
            reason = (
                f"{example.where}: the prompt is also in another split, at {other.where}; "
                "remove one of the two, or leave this one out with on_bad_row=skip."
            )
            if left_out is None:
                raise DataError(reason)
            left_out.append(Rejected(row, reason))
        for example in clean[name]:
            first.setdefault(prompt_key(example), example)
    return clean


def cut(splits: dict[str, list[Example]], shares: dict[str, float]) -> dict[str, list[Example]]:
    """Missing validation and test splits, cut off the training rows: the first prompts in the order of their hash.

    All rows of one prompt go to one split, and the cut needs no seed. A share above 0 gives at least one prompt; fewer
    than three prompts are all for training.
    """
    train = splits["train"]
    prompts = sorted({prompt_key(e) for e in train}, key=lambda p: hashlib.sha256(p.encode()).digest())
    given, start = dict(splits), 0
    for name in (s for s in reversed(SPLITS) if s not in given):
        enough = shares[name] > 0 and len(prompts) >= len(SPLITS)
        n = max(round(shares[name] * len(prompts)), 1) if enough else 0
        part = set(prompts[start : start + n])
        splits = splits | {name: [e for e in train if prompt_key(e) in part]}
        start += n
    rest = set(prompts[start:])
    return splits | {"train": [e for e in train if prompt_key(e) in rest]}


def sample(examples: list[Example], n: int | None, *, seed: int, name: str) -> list[Example]:
    """At most n of the examples in their order; a smaller sample is part of a larger one."""
    if n is None or n >= len(examples):
        return examples
    order = list(range(len(examples)))
    random.Random(fold("sample", name, seed)).shuffle(order)
    return [examples[i] for i in sorted(order[:n])]


def write_rejected(path: Path, left_out: list[Rejected]) -> None:
    """Write rows that are set aside as JSONL, with file, line and reason. Raises InputError where that fails."""
    if not ranks.is_first():
        return
    lines = []
    for item in left_out:
        file, _, line = item.row.where.rpartition(":")
        entry = {"file": file, "line": int(line), "reason": item.reason, "row": item.row.value}
        lines.append(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Half of a surrogate pair becomes the escape that JSON has for it.
        path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"{path}: rejected rows cannot be written ({error.strerror}); choose another place.") from None
