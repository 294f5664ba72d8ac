"""A task's files without its longest documents, which a small run cannot afford and the recipe's limit would cut."""

from __future__ import annotations

import json
from pathlib import Path

from homestretch.writing import write_rows

MAX_WORDS, FEW_WORDS = 240, 130
"""Longest documents: those that fit the recipe's 384 tokens with their cue, and those that a small run can afford."""
SPLITS = ("train", "validation", "test")


def prepared(source: Path, target: Path, *, max_words: int) -> Path:
    """A copy of the data in `source` in `target`, without documents of more than `max_words`."""
    for split in SPLITS:
        lines = (source / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        write_rows(target / f"{split}.jsonl", [row for row in rows if len(row["prompt"].split()) <= max_words])
    return target
