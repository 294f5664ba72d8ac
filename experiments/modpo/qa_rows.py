"""QA-feedback as preference rows, split by question, with what the rewards of `qa_rewards.py` read beside each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from qa_rewards import agreement, fitted, flat, share

from homestretch.metrics.lexicon import content_words
from homestretch.seeds import fold
from homestretch.writing import write_rows

SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}
PAIRS = tuple(combinations(range(1, 5), 2))
"""Which answers the six preference labels compare: 1 is the first, 2 the second, 0 neither."""


def prepared(source: Path, target: Path, *, evidence_words: int, answer_words: int) -> dict[str, float]:
    """Write a file for each split, and return how well the judges agree with the labels of the test questions.

    The judges are fitted to the training questions alone. Evidence is the sentences that share most words with the
    question; answers are cut to their first sentences.
    """
    rows = [json.loads(text) for text in (source / "dev_feedback.jsonl").read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: fold("qa_feedback", row["question"]))
    ends = [round(len(rows) * sum(list(SHARES.values())[: i + 1])) for i in range(len(SHARES))]
    parts = dict(zip(SHARES, (rows[a:b] for a, b in zip([0, *ends], ends, strict=False)), strict=True))
    coefficients = fitted(parts["train"])
    for split, some in parts.items():
        made = [out for row in some for out in answers(row, split, evidence_words, answer_words)]
        write_rows(target / f"{split}.jsonl", [row | {"coefficients": coefficients} for row in made])
    return agreement(parts["test"], coefficients)


def answers(row: Mapping[str, Any], split: str, evidence_words: int, answer_words: int) -> list[dict[str, Any]]:
    """The rows of one question: in training a pair for each preference, else its gold answer."""
    passages = flat(row)
    common = {
        "prompt": f"{evidence(row['question'], passages, evidence_words)}\nQuestion: {row['question']}\nAnswer:",
        "question": row["question"],
        "passages": passages,
    }
    if split != "train":
        return [common | {"completion": cut(row["gold"], answer_words)}]
    made = []
    for (a, b), label in zip(PAIRS, row["preference"], strict=True):
        first, second = (cut(row[f"prediction {i}"], answer_words) for i in (a, b))
        if label and first != second:
            better, worse = (first, second) if label == 1 else (second, first)
            made.append(common | {"chosen": better, "rejected": worse})
    return made


def evidence(question: str, passages: Sequence[str], limit: int) -> str:
    """The sentences that share most words with the question, in their own order, of `limit` words at most."""
    asked = content_words(question)
    order = sorted(range(len(passages)), key=lambda i: (-share(asked, content_words(passages[i])), i))
    kept: list[int] = []
    for i in order:
        if sum(len(passages[k].split()) for k in [*kept, i]) <= limit:
            kept.append(i)
    return " ".join(" ".join(passages[i].split()) for i in sorted(kept or order[:1]))


def cut(answer: str, limit: int) -> str:
    """The first words of an answer, after a space as a completion has it."""
    return " " + " ".join(answer.split()[:limit])
