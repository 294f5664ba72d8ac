"""data/records.py: every supported shape of a row, and the sentence for every wrong one."""

# ruff: noqa: E501 - a sentence or a template is read whole

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homestretch.data.records import completion_text, example_from_row, prompt_text, with_all_references
from homestretch.errors import DataError

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}


def example(**row):
    return example_from_row(row, where="data/train.jsonl:3")


def test_text_pair():
    e = example(prompt="Body.\nSummary:", completion=" Sum.", document="Body.", id=7, topic="x", empty=None)
    assert (e.prompt, e.completion, e.source, e.id) == ("Body.\nSummary:", " Sum.", "Body.", "7")
    assert (e.references, e.where, e.columns) == ((" Sum.",), "data/train.jsonl:3", {"topic": "x"})


def test_defaults_come_from_the_row():
    e = example(prompt="p", completion="c")
    assert (e.id, e.source) == ("train.jsonl:3", "p")


def test_references_start_with_the_completion_and_have_no_repeats():
    assert example(prompt="p", completion="c", references=["a", "c", "b", "a"]).references == ("c", "a", "b")
    assert example(prompt="p", references=["a", "b"]).completion == "a"


def test_rows_of_one_prompt_share_their_references_each_its_own_first():
    chat = [{"role": "user", "content": "p "}]
    rows = [
        {"prompt": "p", "completion": "a", "references": ["b"]},
        {"prompt": "q", "completion": "x"},
        {"prompt": " p\n", "completion": "c"},
        {"prompt": chat, "completion": "b"},
    ]
    examples = [example_from_row(row, where=f"rows:{i}") for i, row in enumerate(rows)]
    shared = with_all_references(examples)
    assert [e.references for e in shared] == [("a", "b", "c"), ("x",), ("c", "a", "b"), ("b", "a", "c")]
    assert [replace(e, references=own.references) for e, own in zip(shared, examples, strict=True)] == examples


def test_preference_row():
    e = example(prompt="p", chosen="good", rejected="bad", margin="0.5", failure_mode="copy", rejected_terminated=False)
    assert (e.completion, e.references) == ("good", ("good",))
    assert e.columns == {
        "chosen": "good",
        "rejected": "bad",
        "margin": 0.5,
        "failure_mode": "copy",
        "rejected_terminated": False,
    }


def test_an_empty_rejected_answer_is_a_failure_mode_not_a_bad_row():
    assert example(prompt="p", chosen="good", rejected="").columns["rejected"] == ""


def test_a_failure_mode_without_a_name_is_none():
    assert "failure_mode" not in example(prompt="p", chosen="good", rejected="bad", failure_mode="").columns


def test_messages_end_in_the_answer():
    e = example(messages=[{"role": "system", "content": "be kind"}, USER, ANSWER])
    assert (len(e.prompt), e.completion, e.references, e.source) == (2, [ANSWER], ("yo",), "hi")
    assert (prompt_text(e), completion_text(e)) == ("be kind\nhi", "yo")


def test_chat_prompt_takes_text_or_message_as_answer():
    assert example(prompt=[USER], completion="yo").completion == example(prompt=[USER], completion=[ANSWER]).completion
    assert example(prompt=[USER], chosen=[ANSWER], rejected="no").columns["rejected"] == [
        {"role": "assistant", "content": "no"}
    ]


def test_numbers():
    e = example(prompt="p", completion="c", reward="1.5", rewards={"a": 1, "b": None})
    assert e.columns == {"reward": 1.5, "rewards": {"a": 1.0}}


MAP = "rename one, or map it with columns."
BAD = [
    ({"promt": "p", "completion": "c"}, "there is no column `prompt` (did you mean `promt`?); " + MAP + "prompt=ITS_NAME."),
    ({"prompt": "p", "answer": "c"}, "there is no column `completion` (the row has `answer`); " + MAP + "completion=ITS_NAME."),
    ({"prompt": "p", "rejected": "c"}, "there is no column `chosen` (the row has `prompt`, `rejected`); " + MAP + "chosen=ITS_NAME."),
    ({"prompt": "p", "chosen": "c"}, "there is no column `rejected` (the row has `chosen`, `prompt`); " + MAP + "rejected=ITS_NAME."),
    ({}, "there is no column `prompt` (the row is empty); " + MAP + "prompt=ITS_NAME."),
    ({"prompt": " \n", "completion": "c"}, "`prompt` is empty; give it a text, or drop the row."),
    ({"prompt": [], "completion": "c"}, "`prompt` is empty; give it a text, or drop the row."),
    ({"prompt": "p", "completion": ""}, "`completion` is empty; give it a text, or drop the row."),
    ({"prompt": "p", "completion": 3}, "`completion` is a number; make it a string or a list of messages."),
    ({"prompt": True, "completion": "c"}, "`prompt` is a boolean; make it a string or a list of messages."),
    ({"prompt": "p", "completion": [ANSWER]}, "`prompt` is text but `completion` is messages; make both text or both messages."),
    ({"prompt": [USER], "completion": [USER]}, "`completion` must be a single message by `assistant`; move the others to `prompt`."),
    ({"prompt": [{"role": "user"}], "completion": "c"}, 'a message of `prompt` must be {"role": string, "content": string}; correct the row.'),
    ({"messages": "hi"}, "`messages` is a string; make it a list of {role, content}, or name the column `prompt`."),
    ({"messages": [ANSWER, USER]}, "the last of `messages` is by `user`; end with the assistant's answer."),
    ({"messages": [ANSWER]}, "`messages` has only the answer; put the user's message before it."),
    ({"messages": [USER, {"role": "assistant", "content": ""}]}, "the last of `messages` is empty; give it a text, or drop the row."),
    ({"prompt": "p", "completion": "c", "references": "r"}, "`references` must be a list of strings; correct the row."),
    ({"prompt": "p", "completion": "c", "references": [" "]}, "`references` has an empty text; remove it from the list."),
    ({"prompt": "p", "completion": "c", "reward": "x"}, "`reward` = 'x' is not a finite number; correct it, or remove the column."),
    ({"prompt": "p", "completion": "c", "margin": float("nan")}, "`margin` = nan is not a finite number; correct it, or remove the column."),
    ({"prompt": "p", "completion": "c", "rewards": {"a": True}}, "`rewards.a` = True is not a finite number; correct it, or remove the column."),
    ({"prompt": "p", "completion": "c", "rewards": [1]}, "`rewards` is a list; make it an object of names and numbers."),
    ({"prompt": "p", "completion": "c", "failure_mode": 1}, "`failure_mode` is a number; make it a string."),
    ({"prompt": "p", "chosen": "c", "rejected": "r", "rejected_terminated": "false"}, "`rejected_terminated` = 'false' is not true or false; correct the row."),
    ({"prompt": "p", "completion": "c", "terminated": 1}, "`terminated` = 1 is not true or false; correct the row."),
    ([1], 'a row must be an object such as {"prompt": ..., "completion": ...}, not a list.'),
]  # fmt: skip


@pytest.mark.parametrize(("row", "sentence"), BAD)
def test_bad_row(row, sentence):
    with pytest.raises(DataError) as error:
        example_from_row(row, where="train.jsonl:3")
    assert str(error.value) == f"train.jsonl:3: {sentence}"


def test_a_number_that_is_too_large_is_no_number():
    with pytest.raises(DataError, match=r":3: `reward` = 1000.* is not a finite number") as error:
        example(prompt="p", completion="c", reward=10**400)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("row", [{"prompt": "a\ud83d"}, {"x": [{"\udc00": 1}]}, {"rejected": "\ud83d", "chosen": "c"}])
def test_half_of_a_character_is_named_wherever_it_stands(row):
    with pytest.raises(DataError, match=r":3: `\\u(d83d|dc00)` is half of a character"):
        example(**{"prompt": "p", "completion": "c", **row})
    assert example(prompt="\U0001f600", completion="c").prompt == "😀"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text("ab ", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content"]), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["prompt", "completion", "messages", "chosen", "rejected", "references", "reward", "rewards", "document", "x"]
)


@given(st.dictionaries(KEYS, JSON))
def test_any_row_is_an_example_or_one_sentence(row):
    try:
        e = example_from_row(row, where="f:1")
    except DataError as error:
        sentence = str(error)
    else:
        sentence = "f:1: ."
        assert prompt_text(e).strip() and e.references[0] == completion_text(e) and completion_text(e).strip()
    assert sentence.startswith("f:1: ") and sentence.endswith(".") and "\n" not in sentence
