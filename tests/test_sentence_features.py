"""Features by sentence embeddings and by entailment: on given vectors by hand, and on the packaged encoder."""

from __future__ import annotations

import math
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from homestretch.metrics.base import MINILM_PACKAGE
from homestretch.rewards import sentence_features as module
from homestretch.rewards.sentence_features import (
    PREMISES,
    Vectors,
    entailed,
    opinion_coverage,
    opinion_faithfulness,
    relevance,
)

ANGLES = {"East.": 0, "Good east.": 0, "Bad east.": 0, "North.": 90, "Good north.": 90, "Between.": 30, "West.": 180}


class Compass:
    """Encodes each text as its direction, and counts."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode(self, texts: list[str]) -> list[SimpleNamespace]:
        self.calls.append(list(texts))
        radians = [math.radians(ANGLES[text]) for text in texts]
        return [SimpleNamespace(mean_D=torch.tensor([math.cos(a), math.sin(a)])) for a in radians]


def cos(degrees: float) -> float:
    return max(0.0, math.cos(math.radians(degrees)))


def vectors() -> Vectors:
    return Vectors(Compass())


def test_relevance_is_the_angle_between_the_middles() -> None:
    documents = ["East. North.", "East.", "East.", "East. North."]
    texts = ["Between.", "Between.", "West.", "North. East."]
    expected = [cos(45 - 30), cos(30), 0.0, 1.0]
    assert relevance(documents, texts, vectors()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("document", "text", "expected"),
    [
        ("East. North.", "Between.", cos(30)),
        ("East. North.", "Between. West.", (cos(30) + cos(90)) / 2),
        ("Good east. North.", "Good east.", 1.0),
        ("Bad east. North.", "Good east.", cos(90)),
        ("Bad east. Between.", "Good east.", cos(30)),
        ("Bad east.", "East.", 1.0),
    ],
)
def test_each_sentence_is_borne_out_by_the_nearest_that_does_not_disagree(
    document: str, text: str, expected: float
) -> None:
    assert opinion_faithfulness([document], [text], vectors()) == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize(
    ("document", "text", "expected"),
    [
        ("Good east. Good north. West.", "Between.", (cos(30) + cos(60)) / 2),
        ("East. North.", "Between.", (cos(30) + cos(60)) / 2),
        ("Good east. Bad east.", "Good east.", 1 / 2),
        ("Good east. Bad east.", "Good east. Bad east.", 1.0),
        ("Good east. Bad east.", "East.", 1.0),
    ],
)
def test_opinions_of_the_document_are_covered_by_the_nearest_that_does_not_disagree(
    document: str, text: str, expected: float
) -> None:
    assert opinion_coverage([document], [text], vectors()) == pytest.approx([expected], abs=1e-6)


def test_a_unit_is_encoded_once_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made = vectors()
    for _ in range(2):
        relevance(["East. North.", "East."], ["North.", "Between."], made)
    assert [sorted(call) for call in made.encoder.calls] == [["Between.", "East.", "North."]]
    monkeypatch.setattr(module, "KEPT", 3)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    assert made.of(["West.", "East.", "West."])[:, 0].tolist() == pytest.approx([-1, 1, -1])
    assert made.encoder.calls[1:] == [["West."], ["East."]]
    assert made.of(["East.", "West."]).shape == (2, 2) and len(made.encoder.calls) == 3


def test_entailment_is_asked_of_the_nearest_premises() -> None:
    documents = ["East. North. Between.", "West."]
    asked: list[tuple[str, str]] = []

    def nli(pairs: list[tuple[str, str]]) -> list[float]:
        asked.extend(pairs)
        return [0.1 * (1 + len(a)) if b == "East." else 0.05 for a, b in pairs]

    found = entailed(documents, ["East. West.", "East."], vectors(), nli)
    assert found == [[pytest.approx(0.9), 0.05], [pytest.approx(0.6)]]
    assert asked[:3] == [("East.", "East."), ("Between.", "East."), ("North.", "East.")]
    assert len(asked) == 3 + 3 + 1 and asked[-1] == ("West.", "East.")


def test_no_more_premises_than_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PREMISES", 1)
    asked: list[tuple[str, str]] = []
    entailed(["West. East. Between."], ["East."], vectors(), lambda pairs: asked.extend(pairs) or [0.5])
    assert asked == [("East.", "East.")] and PREMISES == 5


UNITS = st.lists(st.sampled_from(sorted(ANGLES)), min_size=1, max_size=5).map(" ".join)


@given(st.lists(st.tuples(UNITS, UNITS), min_size=1, max_size=4))
def test_ranges_and_the_batch_does_not_matter(pairs: list[tuple[str, str]]) -> None:
    documents, texts = [d for d, _ in pairs], [t for _, t in pairs]
    for feature in (relevance, opinion_faithfulness, opinion_coverage):
        together = feature(documents, texts, vectors())
        assert all(0 <= value <= 1 for value in together)
        assert together == [feature([d], [t], vectors())[0] for d, t in pairs]


@pytest.mark.skipif(not find_spec(MINILM_PACKAGE), reason="the packaged encoder is not installed")
def test_the_packaged_encoder_tells_the_summary_of_these_reviews_from_that_of_others() -> None:
    from homestretch.metrics.learned import Encoder

    boots = "These boots are comfortable and warm.\nThe boots ran small, so order a size up.\nGreat leather, worth it."
    kettle = "The kettle boils fast.\nIts lid broke after a week.\nToo loud for my kitchen."
    summary = "Comfortable leather boots that run small."
    opposite = "Uncomfortable boots of terrible leather, a waste."
    made = Vectors(Encoder())
    for feature in (relevance, opinion_faithfulness, opinion_coverage):
        own, other = feature([boots, kettle], [summary, summary], made)
        assert own > other + 0.2
    for feature in (opinion_faithfulness, opinion_coverage):
        right, wrong = feature([boots, boots], [summary, opposite], made)
        assert right > wrong + 0.1
