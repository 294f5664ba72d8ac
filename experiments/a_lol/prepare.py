"""The dialogues that fit a budget, split by prompt: 80/10/10 by the hash of the prompt, the same for every seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from homestretch import load_data, load_tokenizer
from homestretch.data.splits import SPLITS
from homestretch.writing import write_text

MODEL = "builtin/smollm2-135m"
FILES = ("helpful_base", "helpful_online", "validation")


def prepared(source: Path, folder: Path, max_prompt: int, max_completion: int) -> dict[str, list[dict[str, Any]]]:
    """Rows by split, written to `folder` as files: those with no more tokens than these in prompt and responses,
    end marker included, and with two responses that differ."""
    rows = {row["prompt"]: row for row in _fitting(source, max_prompt, max_completion)}
    pool = folder / "pool" / "pool.jsonl"
    write_text(pool, _lines(list(rows.values())))
    found = load_data(pool)
    splits = {name: [rows[e.prompt] for e in getattr(found, name)] for name in SPLITS}
    for name, its_rows in splits.items():
        write_text(folder / f"{name}.jsonl", _lines(its_rows))
    return splits


def _fitting(source: Path, max_prompt: int, max_completion: int) -> list[dict[str, Any]]:
    lines = [line for name in FILES for line in (source / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in map(json.loads, lines) if row["chosen"].strip() != row["rejected"].strip() != ""]
    tokenizer = load_tokenizer(MODEL)
    limits = {"prompt": max_prompt, "chosen": max_completion - 1, "rejected": max_completion - 1}
    lengths = {side: [len(ids) for ids in tokenizer([row[side] for row in rows])["input_ids"]] for side in limits}
    return [row for i, row in enumerate(rows) if all(lengths[side][i] <= limit for side, limit in limits.items())]


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
