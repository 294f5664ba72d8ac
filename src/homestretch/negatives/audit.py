"""What preference rows give away: the score of readers who look at length, spelling, words or overlap, and at no more.

Each reader sees one answer at a time, as a reward model does, learns to tell chosen from rejected on some prompts and
is scored on others (area under the ROC curve, 0.5: knows nothing; a prompt is never on both sides):

    length     any function of the length: share of rejected among the answers of like length
    form       first capital, final punctuation, punctuation, capitals and digits, word length, repetition, line breaks
               and the white space at either edge
    words      logistic regression on words and pairs of neighbours, blind to the prompt
    overlap    share of the answer's words and pairs that stand in the prompt, longest copied share, and the length

`length` should know nothing. The others say which classes can be learnt without reading the prompt; for `random` or
`shuffled` that is their nature, for `near_miss`, `spliced` or `action` it would be a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from homestretch.errors import InputError
from homestretch.negatives import readers
from homestretch.negatives.phrases import word_count
from homestretch.seeds import fold

FINE = 0.6
"""A length reader above this is a warning."""
FOLDS = 5
MOST = 4000
"""Rows of a class beyond so many are not read: the intervals are narrow by then."""
FEWEST = 20
"""Rows of a class below which no reader is scored."""


@dataclass(frozen=True)
class ClassAudit:
    """One failure mode, or all (`all`). Scores are None where there are too few rows; lengths are means.

    `longer`: share of rows whose rejected answer is longer than the chosen one, ties counted half.
    """

    name: str
    n: int
    chosen_length: float
    rejected_length: float
    longer: float
    terminated: float
    length: float | None
    form: float | None
    words: float | None
    overlap: float | None


@dataclass(frozen=True)
class NegativesAudit:
    """What `audit` found. Counts of faulty rows should be 0."""

    classes: tuple[ClassAudit, ...]
    duplicates: int
    same_as_chosen: int
    empty: int

    def rows(self) -> list[dict[str, str]]:
        """A table, one row a class and `all` last; the values are ready for printing."""
        return [
            {
                "failure mode": c.name,
                "rows": str(c.n),
                "chosen length": f"{c.chosen_length:.1f}",
                "rejected length": f"{c.rejected_length:.1f}",
                "longer": f"{c.longer:.0%}",
                "ended": f"{c.terminated:.0%}",
                **{reader: _shown(getattr(c, reader)) for reader in readers.READERS},
            }
            for c in self.classes
        ]

    def verdict(self) -> str:
        """One sentence: whether length gives the answer away, or what is wrong with the rows."""
        faults = {
            "that repeat another": self.duplicates,
            "whose rejected answer is the chosen one": self.same_as_chosen,
            "whose rejected answer is empty": self.empty,
        }
        wrong = [f"{count} rows {what}" for what, count in faults.items() if count]
        if wrong:
            return f"There are {', '.join(wrong)}; remove them before training on these rows."
        score = self.classes[-1].length
        if score is None:
            return f"There are too few rows to tell what length gives away; make at least {FEWEST}."
        if score <= FINE:
            return f"Length alone reaches AUROC {score:.2f}: fine."
        worst = max(self.classes[:-1], key=lambda c: c.n * abs(c.longer - 0.5))
        return (
            f"Length alone reaches AUROC {score:.2f}, above {FINE}: a reward model can learn length instead; "
            f"balance `{worst.name}`, where {worst.longer:.0%} of the rejected answers are the longer ones."
        )


def audit(rows: Sequence[Mapping[str, Any]], *, length: Callable[[str], int] = word_count) -> NegativesAudit:
    """Reads preference rows of any origin: prompt, chosen, rejected; failure_mode and rejected_terminated if there.

    `length` must be the measure that the reward model's tokens come closest to; units (words) by default. Raises
    InputError where `rejected_terminated` is neither true nor false.
    """
    pairs = [_pair(row, length) for row in rows]
    modes = Counter(p.mode for p in pairs)
    audited = [_class_audit(mode, [p for p in pairs if p.mode == mode]) for mode in sorted(modes)]
    audited.append(_class_audit("all", pairs))
    seen = Counter((p.prompt, p.rejected) for p in pairs)
    return NegativesAudit(
        classes=tuple(audited),
        duplicates=sum(count - 1 for count in seen.values()),
        same_as_chosen=sum(p.terminated and p.chosen.split() == p.rejected.split() for p in pairs),
        empty=sum(not p.rejected.strip() for p in pairs),
    )


def _class_audit(name: str, pairs: Sequence[readers.Pair]) -> ClassAudit:
    lengths = np.array([p.lengths for p in pairs], dtype=float).reshape(-1, 2)
    difference = np.sign(lengths[:, 1] - lengths[:, 0])
    read = sorted(pairs, key=lambda p: fold(p.prompt, p.rejected))[:MOST]
    enough = len({p.prompt for p in read}) >= FEWEST
    scores = {r: readers.held_out_auroc(read, r, folds=FOLDS) if enough else None for r in readers.READERS}
    return ClassAudit(
        name=name,
        n=len(pairs),
        chosen_length=float(lengths[:, 0].mean()) if len(pairs) else 0.0,
        rejected_length=float(lengths[:, 1].mean()) if len(pairs) else 0.0,
        longer=float((difference + 1).mean() / 2) if len(pairs) else 0.5,
        terminated=sum(p.terminated for p in pairs) / max(1, len(pairs)),
        **scores,
    )


def _pair(row: Mapping[str, Any], length: Callable[[str], int]) -> readers.Pair:
    prompt, chosen, rejected = (_text(row[k]) for k in ("prompt", "chosen", "rejected"))
    ended = row.get("rejected_terminated")
    if not isinstance(ended, bool | None):
        raise InputError(f"`rejected_terminated` = {ended!r:.80} is not true or false; correct the rows.")
    return readers.Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        mode=str(row.get("failure_mode") or "unnamed"),
        terminated=ended is not False,
        lengths=(length(chosen), length(rejected)),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\n".join(str(m["content"]) for m in value)


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
