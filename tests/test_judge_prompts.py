"""What a judge is asked, and how its answers are read."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.config.extractors import Feature, JudgeConfig
from homestretch.rewards.judge_prompts import QUALITIES, Unusable, instructions, messages, score_of

FEATURES = get_args(Feature)


def judge(**settings: object) -> JudgeConfig:
    return JudgeConfig.parse({"model": "m", **settings}, where="here")


def test_every_feature_has_a_prompt_of_its_own_on_one_scale() -> None:
    assert set(QUALITIES) == set(FEATURES) and len(FEATURES) == 7
    prompts = {feature: instructions(judge(feature=feature)) for feature in FEATURES}
    assert len(set(prompts.values())) == 7 == len({quality.question for quality in QUALITIES.values()})
    frames = set()
    for feature, prompt in prompts.items():
        question = QUALITIES[feature].question
        assert prompt.count(question) == 1
        assert not any(quality.question in prompt for name, quality in QUALITIES.items() if name != feature)
        assert prompt.count("5 is the best") == 1 and "- 0 to " in prompt and " to 5: " in prompt
        bands = prompt.partition("5 is the best:\n")[2].partition("\n\n")[0]
        frames.add(prompt.replace(question, "").replace(bands, ""))
    assert len(frames) == 1, "but for the quality and its bands, all prompts are the same"


def test_a_prompt_speaks_of_its_own_quality_alone() -> None:
    own_words = {
        "aspect_coverage": "aspect",
        "opinion_faithfulness": "opinion that the text reports",
        "opinion_coverage": "opinion that the source holds",
        "conciseness": "few words",
        "relevance": "mainly about",
        "hallucination": "made up",
        "language_correctness": "grammar",
    }
    for feature in FEATURES:
        found = {name for name, word in own_words.items() if word in instructions(judge(feature=feature))}
        assert found == {feature}


@pytest.mark.parametrize("feature", FEATURES)
def test_bands_cover_the_scale_without_gaps(feature: Feature) -> None:
    bands = QUALITIES[feature].bands
    assert bands[0][0] == 0 and bands[-1][1] == 5
    assert all(below[1] == above[0] for below, above in pairwise(bands)) and all(low < high for low, high, _ in bands)
    assert len({meaning for _, _, meaning in bands}) == len(bands)


def test_own_words_get_the_same_frame_and_braces_in_them_stay() -> None:
    prompt = instructions(judge(prompt="Is it {kind} 100 %?"))
    assert "Is it {kind} 100 %?" in prompt and "5 is the best" in prompt and '{"reason": "...", "score": 0.0}' in prompt


def test_document_and_text_stand_between_their_marks() -> None:
    system, user = messages(judge(feature="relevance"), "a {document}", "a text")
    assert system == {"role": "system", "content": instructions(judge(feature="relevance"))}
    assert user["role"] == "user"
    assert "<source>\na {document}\n</source>" in user["content"] and "<text>\na text\n</text>" in user["content"]


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"reason": "r", "score": 3.75}', 3.75),
        ('{"score": 0, "reason": "r"}', 0.0),
        ('Let me see.\n```json\n{"reason": "a } brace", "score": 5}\n```', 5.0),
        ('{oops {"reason": "r", "score": 2}', 2.0),
        ('{"reason": "r", "score": 1} {"reason": "r", "score": 2}', 2.0),
        ('As {"reason": "...", "score": 0.0}:\n{"reason": "r", "score": 4}', 4.0),
        ('{"reason": "r", "score": 4}, as asked: {"reason": "...", "score": 0.0}', 4.0),
        ('{"reason": "r", "score": 4} {"note": "done"} {"score": 50}', 4.0),
        ('{"reason": "one said {\\"score\\": 1}", "score": 4}', 4.0),
    ],
)
def test_answers_that_can_be_used(answer: str, score: float) -> None:
    assert score_of(answer) == score


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "no whole JSON object"),
        ("I would say 4.", "no whole JSON object"),
        ('{"reason": "r", "score": 3.', "no whole JSON object"),
        ("[4]", "no whole JSON object"),
        ('{"reason": "...", "score": 0.0}\n{"reason": "The text', "no whole JSON object"),
        ('{"reason": "r"}', "no number `score`"),
        ('{"score": "4"}', "no number `score`"),
        ('{"score": true}', "no number `score`"),
        ('{"score": null}', "no number `score`"),
        ('{"score": 7}', "the score 7 is not on the scale of 0 to 5"),
        ('{"score": -0.5}', "the score -0.5 is not on"),
        ('{"score": 85}', "the score 85 is not on"),
        ('{"score": NaN}', "the score nan is not on"),
        ('{"score": Infinity}', "the score inf is not on"),
        ('{"a": ' * 5000, "no whole JSON object"),
        ('{"score": ' + "9" * 5000 + "}", "no whole JSON object"),
    ],
)
def test_answers_that_cannot_be_used(answer: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        score_of(answer)


@given(st.floats(0, 5), st.text(), st.text())
def test_whatever_stands_around_the_object(score: float, before: str, reason: str) -> None:
    answer = before.replace("{", "(") + json.dumps({"reason": reason, "score": score}) + before
    assert score_of(answer) == score


@given(st.text())
def test_no_text_breaks_the_reader(answer: str) -> None:
    with contextlib.suppress(Unusable):  # a text without a grade is refused, and may be
        assert 0 <= score_of(answer) <= 5
