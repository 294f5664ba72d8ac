"""Post-processing steps and the sentences they are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.errors import RecipeError
from homestretch.metrics.postprocess import STEPS, dedupe, end_marker, postprocess, postprocess_row, tail
from homestretch.metrics.sentences import counted_words, is_finished, sentences, words

SHEET = "A b. C d. A b. E f"


def test_the_example_of_the_sheet_alone_and_together():
    assert tail(SHEET) == "A b. C d. A b."
    assert dedupe(SHEET) == "A b. C d. E f"
    assert end_marker(SHEET) == SHEET
    assert postprocess(SHEET, ["tail", "dedupe"]) == postprocess(SHEET) == "A b. C d."
    assert postprocess(SHEET, []) == SHEET


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.<|im_end|>Two.", "One."),
        ("One.</s> Two.<|endoftext|>", "One."),
        ("One.\n \nTwo.", "One."),
        ("\n\nOne.\nTwo.", "One.\nTwo."),
        ("", ""),
    ],
)
def test_end_marker_cuts_at_the_first_end(text, expected):
    assert end_marker(text) == expected


def test_tail_keeps_the_only_sentence():
    assert tail("no end here") == "no end here"
    assert tail("An end. no end") == "An end."
    assert tail('He said "yes." and then') == 'He said "yes."'


def test_dedupe_sees_through_case_and_punctuation_and_keeps_layout_without_duplicates():
    assert dedupe("A b! C d.  a B.") == "A b! C d."
    assert dedupe("A b.\nC d.") == "A b.\nC d."
    assert dedupe("... ... ...") == "..."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Use e.g. a list. Then stop.", ["Use e.g. a list.", "Then stop."]),
        ("Dr. J. Smith paid 3.5 dollars. He left", ["Dr. J. Smith paid 3.5 dollars.", "He left"]),
        ('She asked "Why?" Then (it ended.) Yes', ['She asked "Why?"', "Then (it ended.)", "Yes"]),
        ("Version 2.5. Next one...", ["Version 2.5.", "Next one..."]),
        ("See fig.", ["See fig."]),
        ("你好。再见", ["你好。", "再见"]),
        ("   ", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_vowel_signs_belong_to_their_words():
    assert words("हिन्दी l'été") == counted_words("हिन्दी l'été") == ("हिन्दी", "l'été")
    assert counted_words("你好 x_y") == ("你", "好", "x_y")


def test_an_apostrophe_makes_no_other_word():
    assert words("It\u2019s O\u2019Hara") == words("it's o'hara") == counted_words("It\u2019s O\u2019Hara")


def test_is_finished():
    assert is_finished('He said "yes."') and is_finished("So! ") and is_finished("And so on…")
    assert not is_finished("and then") and not is_finished("") and not is_finished("a, b")


texts = st.lists(st.sampled_from(["A b.", "C d.", "E f", "\n\n", "</s>", "e.g.", "!", "x"]), max_size=8).map(" ".join)


@given(texts)
def test_steps_are_idempotent_and_never_make_text_of_their_own(text):
    for step in STEPS.values():
        once = step(text)
        assert step(once) == once
        assert len(once) <= len(text)
    for step in (tail, dedupe):
        assert bool(step(text).strip()) == bool(text.strip())


def test_unknown_step_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean `dedupe`"):
        postprocess("a", ["dedup"])


def test_row_of_a_post_processed_arm():
    row = {"id": "1", "arm": "ml_raw", "text": "A b. C d. A b. E f", "terminated": False, "tokens": 12, "reward": 0.5}
    post = postprocess_row(row, arm="ml_post")
    assert post == {"id": "1", "arm": "ml_post", "text": "A b. C d.", "terminated": True, "tokens": 6, "reward": None}
    assert postprocess_row({**row, "text": "A b."}, arm="x") == {**row, "text": "A b.", "arm": "x"}
