"""Relevance, factuality and completeness of answers, learnt from the span labels of QA-feedback's training questions.

Each is a logistic regression on a few counts of shared words: of a sentence of the answer that it is marked as
irrelevant (or repeated, or incoherent), or as wrong (or not verifiable), and of a sentence of the passages that the
answer lacks it. A row brings its `coefficients`, so the functions are rewards like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from homestretch.metrics.lexicon import content_words, names_and_numbers, supports
from homestretch.metrics.sentences import sentences, words

IRRELEVANT = ("Irrelevant", "Redundant", "Incoherent")
WRONG = ("Wrong-Grounding", "Unverifiable")
LABELLED = "prediction 1"
"""The answer that the spans are of."""
Labelled = tuple[list[list[float]], list[bool]]


def share(part: frozenset[str], whole: frozenset[str]) -> float:
    """Share of the first set's words that the second has, 0 to 1; 0 of no words."""
    return len(part & whole) / len(part) if part else 0.0


def of_answer(question: str, answer: str, passages: Sequence[str]) -> list[list[float]]:
    """Six numbers of each sentence of an answer: about the question, supported, with strange names, repeated, its place
    and its length."""
    asked, said, found = content_words(question), frozenset[str](), []
    for place, sentence in enumerate(sentences(answer)):
        own, named = content_words(sentence), names_and_numbers(sentence)
        strange = sum(not supports(passages, name) for name in named) / len(named) if named else 0.0
        support = max((share(own, content_words(passage)) for passage in passages), default=0.0)
        length = min(len(words(sentence)) / 30, 2.0)
        found.append([share(asked, own), support, strange, share(own, said), min(place / 4, 2.0), length])
        said |= own
    return found


def of_passages(question: str, answer: str, passages: Sequence[str]) -> list[list[float]]:
    """Four numbers of each sentence of the passages: about the question, in the answer, both, and its length."""
    asked, said = content_words(question), content_words(answer)
    found = []
    for passage in passages:
        own = content_words(passage)
        about, covered = share(asked, own), share(own, said)
        found.append([about, covered, about * (1 - covered), min(len(words(passage)) / 30, 2.0)])
    return found


def marked(row: Mapping[str, Any], kinds: Sequence[str]) -> Labelled:
    """The labelled answer's sentences, and whether a span of these kinds covers half of each at least."""
    answer, spans = row[LABELLED], [e for e in row["feedback"]["errors"] if e["error type"] in kinds]
    labels, start = [], 0
    for sentence in sentences(answer):
        start = answer.index(sentence, start)
        end = start + len(sentence)
        covered = sum(max(min(e["end"], end) - max(e["start"], start), 0) for e in spans)
        labels.append(covered >= len(sentence) / 2)
        start = end
    return of_answer(row["question"], answer, flat(row)), labels


def lacking(row: Mapping[str, Any]) -> Labelled:
    """The passages' sentences, and whether the labelled answer lacks each."""
    missing = {(m["passage_id"], s) for m in row["feedback"]["missing-info"] for s in m["sentence_id"]}
    places = [(p, s) for p, passage in enumerate(row["passages"], start=1) for s in range(1, len(passage))]
    return of_passages(row["question"], row[LABELLED], flat(row)), [place in missing for place in places]


def flat(row: Mapping[str, Any]) -> list[str]:
    """The sentences of all passages, titles left out."""
    return [sentence for passage in row["passages"] for sentence in passage[1:]]


READERS = {
    "relevance": lambda row: marked(row, IRRELEVANT),
    "factuality": lambda row: marked(row, WRONG),
    "completeness": lacking,
}


def fitted(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Coefficients of each judge, the constant last."""
    found = {}
    for name, read in READERS.items():
        features, labels = together([read(row) for row in rows])
        model = LogisticRegression(max_iter=1000).fit(features, labels)
        found[name] = [round(float(c), 5) for c in [*model.coef_[0], model.intercept_[0]]]
    return found


def agreement(rows: Sequence[Mapping[str, Any]], coefficients: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Area under the ROC curve of each judge on the labels of other questions, 0 to 1."""
    found = {}
    for name, read in READERS.items():
        features, labels = together([read(row) for row in rows])
        found[name] = round(float(roc_auc_score(labels, features @ np.array(coefficients[name][:-1]))), 4)
    return found


def together(parts: Sequence[Labelled]) -> tuple[np.ndarray, np.ndarray]:
    """All sentences (N, F) with their labels (N,)."""
    return np.array([f for features, _ in parts for f in features]), np.array([x for _, ls in parts for x in ls])


def probability(features: Sequence[float], coefficients: Sequence[float]) -> float:
    """That a sentence bears the label."""
    z = sum(f * c for f, c in zip(features, coefficients, strict=False)) + coefficients[-1]
    return 1 / (1 + math.exp(-z))


def _unmarked(name: str, completions: Sequence[str], question: Any, passages: Any, coefficients: Any) -> list[float]:
    found = []
    for answer, asked, evidence, judges in zip(completions, question, passages, coefficients, strict=True):
        risks = [probability(f, judges[name]) for f in of_answer(asked, answer, evidence)]
        found.append(1 - sum(risks) / len(risks) if risks else 0.0)
    return found


def relevance(completions: Sequence[str], question: Any, passages: Any, coefficients: Any) -> list[float]:
    """Mean probability that a sentence is relevant, 0 to 1; 0 of an empty answer."""
    return _unmarked("relevance", completions, question, passages, coefficients)


def factuality(completions: Sequence[str], question: Any, passages: Any, coefficients: Any) -> list[float]:
    """Mean probability that a sentence is right, 0 to 1; 0 of an empty answer."""
    return _unmarked("factuality", completions, question, passages, coefficients)


def completeness(completions: Sequence[str], question: Any, passages: Any, coefficients: Any) -> list[float]:
    """Minus the number of passages' sentences that the answer is expected to lack."""
    found = []
    for answer, asked, evidence, judges in zip(completions, question, passages, coefficients, strict=True):
        found.append(-sum(probability(f, judges["completeness"]) for f in of_passages(asked, answer, evidence)))
    return found
