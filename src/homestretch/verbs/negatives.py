"""Failure modes of a user's pairs as ordinary preference rows, for this package's reward models or any other's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homestretch.data.columns import columns_of
from homestretch.data.files import READERS, RawRow, read_file
from homestretch.data.records import Example, example_from_row, with_all_references
from homestretch.data.sources import load
from homestretch.writing import write_rows

if TYPE_CHECKING:
    from homestretch.negatives.audit import NegativesAudit


def make_negatives(
    data: str | Path,
    out: str | Path | None = None,
    *,
    split: Literal["train", "validation", "test"] = "train",
    classes: Sequence[str] | None = None,
    classes_per_example: int | Literal["all"] = 1,
    max_examples: int | None = None,
    seed: int = 0,
    on_bad_row: Literal["error", "skip"] = "error",
) -> list[dict[str, Any]]:
    """Rows of prompt, chosen, rejected, failure_mode, rejected_terminated and id; written to `out` as JSONL if given.

    `classes` are keys of `homestretch.negatives.CORRUPTIONS`; None takes all. No model is loaded. Raises InputError.
    """
    from homestretch.negatives import CORRUPTIONS, Corpus, corruptions
    from homestretch.negatives.mix import make_negatives as mix

    shares = (0.0, 0.0) if split == "train" else (0.1, 0.1)
    rows = getattr(load(data, on_bad_row=on_bad_row, shares=shares), split)
    examples = with_all_references(rows)[:max_examples]
    made = corruptions(classes or CORRUPTIONS, Corpus(examples))
    pairs = mix(examples, made, classes_per_example=classes_per_example, seed=seed)
    if out is not None:
        write_rows(out, pairs)
    return pairs


def audit_negatives(data: str | Path, *, seed: int = 0) -> NegativesAudit:
    """What preference rows give away to trivial readers (`homestretch.negatives.audit`).

    A file of preference rows is read as it stands; of anything else negatives are made first. Raises InputError.
    """
    from homestretch.negatives.audit import audit

    path = Path(data)
    if path.suffix.lower() in READERS:
        examples = [_example(raw) for raw in read_file(path)]
        if all("rejected" in e.columns for e in examples):
            return audit([{**e.columns, "prompt": e.prompt} for e in examples])
    return audit(make_negatives(data, classes_per_example="all", seed=seed))


def _example(raw: RawRow) -> Example:
    return example_from_row(columns_of(raw), where=raw.where)
