"""What a row of outputs answers, and which rows of two arms are compared with each other.

    prompt   the texts of `prompt` and of `source`, what it is about, without space around them; of a row without a
             prompt its `id`
    answer   the id and the prompt; of a row without an id the prompt, and which of the arm's rows of it this is

Rows of one prompt are one observation. Arms are paired by answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


def prompt_of(row: Row, otherwise: Hashable = None) -> Hashable:
    """What tells the prompt that a row answers from others; `otherwise` where the row says nothing about it."""
    if row.get("prompt") is not None:
        return str(row["prompt"]).strip(), str(row.get("source") or "").strip()
    return otherwise if row.get("id") is None else ("id", str(row["id"]), "")


def answers_of(rows: Iterable[Row]) -> list[Hashable]:
    """What tells the answer that a row is from others of its arm: the same in two arms, and they are compared."""
    found: list[Hashable] = []
    before: Counter[Hashable] = Counter()
    for row in rows:
        prompt, arm = prompt_of(row), row.get("arm")
        if row.get("id") is None:
            found.append((prompt, before[arm, prompt]))
            before[arm, prompt] += 1
        else:
            found.append((prompt, str(row["id"])))
    return found
