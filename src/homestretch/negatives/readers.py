"""Readers that look at one thing only, and how well they tell chosen from rejected answers on prompts not seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homestretch.metrics.diversity import repeated_share
from homestretch.metrics.failures import longest_shared_run
from homestretch.metrics.sentences import is_finished, words
from homestretch.seeds import fold

Floats = NDArray[np.float64]
BANDWIDTH = 0.05  # of log length: at ten words the neighbours weigh a fifth, at a hundred they are the same
HASHED = 2**15


@dataclass(frozen=True)
class Pair:
    """A preference row as plain text; `lengths` of chosen and rejected."""

    prompt: str
    chosen: str
    rejected: str
    mode: str
    terminated: bool
    lengths: tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """One answer of a pair."""

    text: str
    prompt: str
    length: int


def form_features(answer: Answer) -> list[float]:
    """What can be seen of an answer without reading it."""
    raw, text = answer.text, answer.text.strip()
    n = max(1, len(text))
    units = words(text)
    return [
        float(text[:1].isupper()),
        float(is_finished(text)),
        len(re.findall(r"[^\w\s]", text)) / n,
        sum(c.isupper() for c in text) / n,
        sum(c.isdigit() for c in text) / n,
        sum(len(u) for u in units) / max(1, len(units)) / 10,
        repeated_share(units),
        len(set(units)) / max(1, len(units)),
        len(re.findall(r"[.!?](?=\s)", text)) / max(1, len(units)),
        float(np.log1p(raw.count("\n"))),
        float(len(raw) - len(raw.lstrip())),
        float(len(raw) - len(raw.rstrip())),
    ]


def overlap_features(answer: Answer) -> list[float]:
    """How much of an answer stands in its prompt, and its length."""
    ours, theirs = words(answer.text), words(answer.prompt)
    known, pairs = set(theirs), set(pairwise(theirs))
    ours_pairs = list(pairwise(ours))
    return [
        sum(w in known for w in ours) / max(1, len(ours)),
        sum(p in pairs for p in ours_pairs) / max(1, len(ours_pairs)),
        longest_shared_run(ours, theirs) / max(1, len(ours)),
        float(np.log1p(answer.length)),
    ]


def held_out_auroc(pairs: Sequence[Pair], reader: str, *, folds: int) -> float:
    """AUROC, 0 to 1, of scores that say `rejected`, each given by a reader trained on other prompts.

    Scores of different folds are put on one scale by their ranks within the fold.
    """
    from sklearn.metrics import roc_auc_score

    answers = [Answer(t, p.prompt, n) for p in pairs for t, n in zip((p.chosen, p.rejected), p.lengths, strict=True)]
    rejected = np.tile([0.0, 1.0], len(pairs))
    part = np.repeat([fold("audit", p.prompt) % folds for p in pairs], 2)
    scores = np.full(len(answers), 0.5)
    features = READERS[reader](answers)
    for k in range(folds):
        train, test = part != k, part == k
        if train.any() and test.any():
            raw = _length_scores(features, rejected, train, test) if reader == "length" else _linear_scores(
                features, rejected, train, test)  # fmt: skip
            scores[test] = _ranks(raw)
    return float(roc_auc_score(rejected, scores))


def _length_features(answers: Sequence[Answer]) -> Floats:
    return np.array([a.length for a in answers], dtype=float)


def _form_features(answers: Sequence[Answer]) -> Floats:
    return np.array([form_features(a) for a in answers])


def _overlap_features(answers: Sequence[Answer]) -> Floats:
    return np.array([overlap_features(a) for a in answers])


def _word_features(answers: Sequence[Answer]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=HASHED, alternate_sign=False, lowercase=True)
    return vectorizer.transform([a.text for a in answers])


READERS: dict[str, Callable[[Sequence[Answer]], Any]] = {
    "length": _length_features,
    "form": _form_features,
    "words": _word_features,
    "overlap": _overlap_features,
}


def _length_scores(lengths: Floats, rejected: Floats, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
    """Share of rejected among training answers of like length: any shape of dependence (Nadaraya and Watson, 1964).

    Lengths count as alike by a Gaussian kernel over log(1 + length); one answer at 1/2 stands for knowing nothing.
    """
    known, where = np.unique(lengths[train], return_inverse=True)
    n, bad = np.bincount(where).astype(float), np.bincount(where, weights=rejected[train])
    asked, place = np.unique(lengths[test], return_inverse=True)
    distance = (np.log1p(asked)[:, None] - np.log1p(known)[None, :]) / BANDWIDTH
    weight = np.exp(-0.5 * distance**2)
    return np.asarray(((weight @ bad + 0.5) / (weight @ n + 1.0))[place], dtype=float)


def _linear_scores(features: Any, rejected: Floats, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    model = make_pipeline(MaxAbsScaler(), LogisticRegression(C=10.0, max_iter=300, solver="liblinear"))
    model.fit(features[train], rejected[train])
    return np.asarray(model.decision_function(features[test]), dtype=float)


def _ranks(scores: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(scores), dtype=float) / len(scores)
