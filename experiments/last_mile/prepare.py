"""A task's files with a cue behind each document, so that a small model knows where the answer begins.

Abstracts of SciTLDR end like any text, and what follows an end is another end: fine-tuned on 96 of them as they are,
the built-in model wrote nothing for most, and behind facts of WebNLG nothing for a fifth (docs/log.md). The built-in
task has such a cue of its own. `run.py` does this by itself; for other experiments:

    python experiments/last_mile/prepare.py --data ../shared/data --out runs/cued --max-words 130
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from homestretch.writing import write_rows

CUES = {"scitldr": "\nSummary:", "webnlg": "\nText:"}
MAX_WORDS, FEW_WORDS = 240, 130
"""Longest documents: those that fit the recipe's 384 tokens with their cue, and those that a small run can afford."""
SPLITS = ("train", "validation", "test")


def prepared(task: str, source: Path, target: Path, *, max_words: int) -> Path:
    """`source/task`, or where the task has a cue a copy in `target/task` with it, of documents of up to `max_words`."""
    if task not in CUES:
        return source / task
    for split in SPLITS:
        lines = (source / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        short = [row for row in rows if len(row["prompt"].split()) <= max_words]
        cued = [row | {"prompt": row["prompt"] + CUES[task], "document": row["prompt"]} for row in short]
        write_rows(target / task / f"{split}.jsonl", cued)
    return target / task


def main() -> None:
    """Prepare every task that has a cue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with scitldr/ and webnlg/")
    parser.add_argument("--out", type=Path, default=Path("runs/cued"))
    parser.add_argument("--max-words", type=int, default=MAX_WORDS, help="longest document that is kept")
    args = parser.parse_args()
    for task in CUES:
        print(prepared(task, args.data, args.out, max_words=args.max_words))


if __name__ == "__main__":
    main()
