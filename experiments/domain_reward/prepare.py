"""OpinPref as preference rows: the reviews are the prompt, and stored features stand beside either summary."""

from __future__ import annotations

import json
from pathlib import Path

SPLITS = ("train", "validation")


def prepared(data: Path, out: Path) -> Path:
    """Write `out`/SPLIT.jsonl from `data`/opinpref, and return `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        lines = (data / "opinpref" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [_row(json.loads(line)) for line in lines]
        (out / f"{split}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return out


def _row(row: dict) -> dict:
    kept = ("id", "chosen", "rejected", "annotator", "chosen_features", "rejected_features")
    return {"prompt": "\n".join(row["reviews"]), **{name: row[name] for name in kept}}
