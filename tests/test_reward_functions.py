"""Rewards that are a user's Python function: found by path, asked with keywords, every wrong answer one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from homestretch.config.rewards import RewardTerm
from homestretch.data.records import example_from_row
from homestretch.errors import InputError, RecipeError
from homestretch.rewards.functions import FunctionReward, load_function, source_key
from homestretch.rewards.named import Column, ask, load_rewards, weighted


def file(folder: Path, text: str) -> str:
    (folder / "mine.py").write_text(text)
    return str(folder / "mine.py")


def reward(folder: Path, text: str) -> FunctionReward:
    return FunctionReward("mine", load_function("mine", f"{file(folder, text)}:f"))


def test_a_function_is_found_in_a_file_and_in_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int = 3\n"
    text += "def f(completions, **_):\n    return [A().a]\n"
    (tmp_path / "only_here.py").write_text(text)
    for place in (f"{file(tmp_path, text)}:f", "only_here:f"):
        assert FunctionReward("x", load_function("x", place))(["p"], ["c"]) == [3.0]
    assert load_function("x", "math:sqrt")(4) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def g(): pass", r"^rewards\.mine: .*mine\.py has no function `f`; (did you mean|known are) `g`"),
        ("f = 3", r"has no function `f`"),
        (
            "import nothing_of_the_kind",
            r"cannot be imported \(ModuleNotFoundError: No .*\); correct it\.$",
        ),
        ("def f(:", r"cannot be imported \(SyntaxError: "),
    ],
)
def test_a_function_that_is_not_there_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_function("mine", f"{file(tmp_path, text)}:f")
    with pytest.raises(RecipeError, match=r"no_such_module cannot be imported"):
        load_function("mine", "no_such_module:f")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return [1.0]", r"^The reward `mine` gave 1 numbers for 2 completions; it must give one each\.$"),
        ("return 3", r"^The reward `mine` gave 3; it must give a list of numbers\.$"),
        ("return ['1', 2]", r"^The reward `mine` gave '1', which is no finite number"),
        ("return [1, float('nan')]", r"^The reward `mine` gave nan, which is no finite number"),
        ("return [1, [2]]", r"^The reward `mine` gave \[2\], which is no finite number"),
        (
            "return [1 / 0]",
            r"^The reward `mine` raised ZeroDivisionError: division by zero at .*mine\.py:2; correct",
        ),
        ("raise RuntimeError", r"^The reward `mine` raised RuntimeError at .*mine\.py:2; correct it\.$"),
    ],
)
def test_a_wrong_answer_is_one_sentence_that_names_the_reward(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        reward(tmp_path, f"def f(prompts, completions, **columns):\n    {body}\n")(["p", "q"], ["c", "d"])


def test_answers_may_be_arrays_booleans_and_none(tmp_path: Path) -> None:
    head = "import torch\ndef f(completions, **_):\n    return "
    assert reward(tmp_path, head + "torch.tensor([1, 2.5])")(["p", "q"], ["c", "d"]) == [1.0, 2.5]
    assert reward(tmp_path, head + "(True, None)")(["p", "q"], ["c", "d"]) == [1.0, None]


def test_a_column_by_the_name_of_an_argument_is_not_given(tmp_path: Path) -> None:
    names = ["prompts", "completions", "where", "terminated", "self"]
    row = {"prompt": "p", "completion": "c", **dict.fromkeys(names, True), "mine": 3}
    [example] = [example_from_row(row, where="x:1")]
    f = reward(
        tmp_path,
        "def f(prompts, completions, where, terminated, mine, **_):\n    assert not _.get('self')\n"
        "    assert (prompts, completions, where) == (['p'], ['t'], ['x:1'])\n    return [terminated[0] + mine[0]]\n",
    )
    assert ask(f, [example], ["t"], [False]) == [3.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "-inf", 10**400])
def test_a_column_reward_is_a_finite_number(value: object) -> None:
    example = example_from_row({"prompt": "p", "completion": "c", "logits": [value, 1]}, where="x.jsonl:1")
    with pytest.raises(InputError, match=r"^x\.jsonl:1: .* `logits\.0`, and the row has no finite number there"):
        ask(Column("mine", "logits.0"), [example], ["c"], [True])
    assert ask(Column("mine", "logits.0", required=False), [example], ["c"], [True]) == [None]
    assert ask(Column("mine", "logits.1"), [example], ["c"], [True]) == [1.0]


def test_columns_are_those_of_the_data_and_a_function_takes_what_it_names(tmp_path: Path) -> None:
    rows = [{"prompt": "Ask: a", "completion": "b", "document": "a", "level": 2}]
    rows += [{"prompt": [{"role": "user", "content": "c"}], "completion": "d", "references": ["d", "e"]}]
    examples = [example_from_row(row, where=f"x:{n}") for n, row in enumerate(rows)]
    seen = reward(
        tmp_path,
        "def f(completions, prompts, level, references, document, terminated):\n"
        "    f.seen = [completions, prompts, level, references, document, terminated]\n"
        "    return [0, 1]\n",
    )
    assert ask(seen, examples, ["x", "y"], [True, False]) == [0.0, 1.0]
    chat = [{"role": "user", "content": "c"}]
    assert seen.function.seen == [
        ["x", "y"], ["Ask: a", chat], [2, None], [["b"], ["d", "e"]], ["a", "c"], [True, False]
    ]  # fmt: skip


def test_a_term_is_weight_times_reward_or_its_probability() -> None:
    plain = weighted(RewardTerm(weight=-2.0), [1.0, None, 0.5])
    assert plain[[0, 2]].tolist() == [-2.0, -1.0] and torch.isnan(plain[1])
    made = weighted(RewardTerm(weight=2.0, sigmoid=True), [0.0, 1.0986122886681098])  # ln 3
    assert made.tolist() == pytest.approx([1.0, 1.5])
    assert load_rewards({"overlap": RewardTerm(weight=0.0), "model": RewardTerm()}) == []


def test_another_text_of_the_function_is_another_reward(tmp_path: Path) -> None:
    first = source_key(f"{file(tmp_path, 'def f(): pass')}:f")
    assert source_key(f"{file(tmp_path, 'def f(): pass')}:g") == first
    assert source_key(f"{file(tmp_path, 'def f(): return 1')}:f") != first
    assert source_key("json:dumps") == source_key("json:loads") != ""
