"""Solutions of GSM8K questions as preference rows and as labelled responses, split by question."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from homestretch.writing import write_rows

GENERATORS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
TEST_SHARE = 0.3
ANSWER = re.compile(r"A: *(.*)")


def prepared(data: Path, out: Path, *, seed: int, most: int | None = None) -> tuple[Path, Path]:
    """Write `pairs.jsonl` of training questions and `test.jsonl` of the others, and return both.

    A pair is a right and a wrong solution of one question. A test row is one solution with `correct`, `answer` and
    `generator`. `most` questions are taken, in an order that the seed decides.
    """
    lines = (data / "gsm8k_solutions" / "solutions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    random.Random(seed).shuffle(questions)
    questions = questions[:most]
    cut = round(len(questions) * TEST_SHARE)
    train, test = out / "pairs.jsonl", out / "test.jsonl"
    write_rows(train, [pair for question in questions[cut:] for pair in _pairs(question)])
    write_rows(test, [row for question in questions[:cut] for row in _rows(question)])
    return train, test


def _pairs(question: dict) -> list[dict]:
    found = [question[name] for name in GENERATORS]
    right = [one["solution"] for one in found if one["is_correct"]]
    wrong = [one["solution"] for one in found if not one["is_correct"]]
    prompt = question["question"] + "\n"
    return [{"prompt": prompt, "chosen": good, "rejected": bad} for good in right for bad in wrong]


def _rows(question: dict) -> list[dict]:
    rows = []
    for name in GENERATORS:
        one = question[name]
        answer = ANSWER.search(one["solution"])
        row = {"prompt": question["question"] + "\n", "completion": one["solution"], "correct": one["is_correct"]}
        rows.append(row | {"answer": answer.group(1).strip() if answer else "", "generator": name})
    return rows
