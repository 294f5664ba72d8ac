"""Preference rows of the data's own as negatives: kept as they are, split by prompt, refused where both sides agree."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
from made_documents import documents

from homestretch.config.negatives import NegativesConfig
from homestretch.config.recipe import load_recipe
from homestretch.data.records import Example, example_from_row
from homestretch.data.sources import Splits
from homestretch.data.tokenize import tokenize_pairs
from homestretch.errors import DataError
from homestretch.negatives import Negative
from homestretch.training.needs import row_check
from homestretch.training.stages import negatives as stage
from homestretch.training.stages.negatives import (
    FILE,
    HELD_OUT,
    given_pairs,
    sides,
    tokens_per_word,
    write_negatives,
)
from homestretch.training.stages.reward import read_pairs, split_pairs
from homestretch.writing import write_rows


def example(number: int, **columns: Any) -> Example:
    return example_from_row(
        {"prompt": f"p{number}", "chosen": f"good {number}", "rejected": f"bad {number}", **columns},
        where=f"pairs.jsonl:{number}",
    )


def test_a_given_pair_is_kept_with_what_is_known_of_it() -> None:
    known = {"failure_mode": "rude", "rejected_terminated": False, "margin": 2.0}
    bare = example_from_row({"prompt": "p", "completion": "c"}, where="pairs.jsonl:3")
    assert given_pairs([example(1), example(2, **known), bare]) == [
        {"prompt": "p1", "chosen": "good 1", "rejected": "bad 1", "failure_mode": "rejected", "id": "pairs.jsonl:1"},
        {"prompt": "p2", "chosen": "good 2", "rejected": "bad 2", "id": "pairs.jsonl:2", **known},
    ]


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x1c", "\r"])
def test_a_text_with_a_line_end_of_its_own_is_one_row(tmp_path: Path, odd: str) -> None:
    write_rows(tmp_path / "n.jsonl", given_pairs([example(1, prompt=f"a{odd}b"), example(2)]))
    assert [row.prompt for row in read_pairs(tmp_path / "n.jsonl")] == [f"a{odd}b", "p2"]
    (tmp_path / "n.jsonl").write_text("")
    with pytest.raises(DataError, match="there are no failure modes here"):
        read_pairs(tmp_path / "n.jsonl")


def test_pairs_of_one_prompt_are_on_one_side() -> None:
    pairs = [example(i, prompt=f"p{i % 10}", failure_mode="rude") for i in range(40)]
    train, held = sides(pairs, NegativesConfig(held_out_fraction=0.3), seed=0)
    assert len({row.prompt for row in held}) == 3
    assert {row.prompt for row in train}.isdisjoint(row.prompt for row in held)
    assert len(train) + len(held) == 40
    assert len({row.prompt for row in sides(pairs, NegativesConfig(max_held_out=2), seed=0)[1]}) == 2
    assert sides(pairs[:1], NegativesConfig(), seed=0) == ([], pairs[:1])


def written(folder: Path, examples: list[Example], config: NegativesConfig, **dataset: Any) -> list[Example]:
    """The pairs that the stage makes of examples, without a model."""
    splits = Splits(train=examples, validation=[], test=[], description="")
    recipe = load_recipe({"stages": ["negatives", "reward"], "dataset": dataset})
    write_negatives(SimpleNamespace(splits=splits, tokenizer=tiny.tokenizer(), recipe=recipe), config, folder, None, 0)
    return read_pairs(folder / FILE)


def test_no_text_is_trained_on_as_right_and_measured_as_wrong_or_the_other_way_round(tmp_path: Path) -> None:
    config = NegativesConfig(classes=["irrelevant"], held_out=None, held_out_fraction=0.4)
    train, held = split_pairs(written(tmp_path, documents(), config), None)
    assert len(held) > 10 and len(train) > 10
    for ours, theirs in ((train, held), (held, train)):
        right = {row.columns["chosen"].strip() for row in theirs}
        assert right.isdisjoint(row.columns["rejected"].strip() for row in ours)


def test_the_held_out_class_is_only_measured_and_few_pairs_are_refused(tmp_path: Path) -> None:
    config = NegativesConfig(classes=["shuffled", "copy"], held_out="copy", classes_per_example="all")
    pairs = written(tmp_path, documents(), config)
    train, held = split_pairs(pairs, "copy")
    assert {row.columns["failure_mode"] for row in train} == {"shuffled"}
    assert {row.columns["failure_mode"] for row in held} == {"shuffled", "copy"}
    for few in (train, held):
        with pytest.raises(DataError, match="pairs are too few to train a reward model on and to measure it"):
            split_pairs(few, "copy")


def test_a_failure_that_will_be_cut_does_not_say_that_it_ends(tmp_path: Path) -> None:
    config = NegativesConfig(classes=["copy", "shuffled"], held_out=None, classes_per_example="all")
    tokenizer, limit = tiny.tokenizer(), 40
    pairs = written(tmp_path, documents(), config, max_completion_length=limit)
    rows = tokenize_pairs(pairs, tokenizer, is_encoder_decoder=False, max_completion_length=limit, truncate=True)
    said = [pair.columns["rejected_terminated"] for pair in pairs]
    assert said == [row.rejected.terminated for row in rows]
    assert {True, False} == set(said)


def test_mined_failures_of_training_prompts_are_none_of_validation_prompts_with_the_same_ids(tmp_path: Path) -> None:
    def rows(split: str) -> list[Example]:
        return [
            example_from_row({"id": f"{i}", "prompt": f"{split} {i}", "completion": "red blue"}, where=f"{split}:{i}")
            for i in range(3)
        ]

    splits = Splits(train=rows("train"), validation=rows("validation"), test=[], description="")
    recipe = load_recipe({"stages": ["negatives"]})
    context = SimpleNamespace(splits=splits, tokenizer=tiny.tokenizer(), recipe=recipe)
    kept = {"1": [Negative("green", "mined")]}
    config = NegativesConfig(classes=["random", "mined"], classes_per_example="all", held_out="random")
    write_negatives(context, config, tmp_path, kept, seed=0)
    made, held_out = ([json.loads(x) for x in (tmp_path / n).read_text().splitlines()] for n in (FILE, HELD_OUT))
    assert [row["prompt"] for row in made if row["failure_mode"] == "mined"] == ["train 1"]
    assert len(held_out) == 3 and {row["failure_mode"] for row in held_out} == {"random"}


def test_an_answer_to_the_same_prompt_in_another_row_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"red{i}" for i in range(9)]

    def rows(split: str) -> list[Example]:
        made = [{"prompt": split, "completion": f"{word} hall", "document": word} for word in words]
        made += [{"prompt": f"{split} {i}", "completion": f"far{i} guest{i}", "document": f"{i}"} for i in range(6)]
        return [example_from_row(row, where=f"{split}:{i}") for i, row in enumerate(made)]

    mined_from: list[Example] = []

    def nothing_mined(_context: Any, _config: Any, examples: list[Example], _seed: int) -> dict[str, list[Negative]]:
        mined_from.extend(examples)
        return {}

    monkeypatch.setattr(stage, "mined_samples", nothing_mined)
    given = example_from_row({"prompt": "train", "chosen": "grey hall", "rejected": "bad"}, where="train:9")
    splits = Splits(train=[*rows("train"), given], validation=rows("validation"), test=[], description="")
    recipe = load_recipe({"stages": ["negatives"]})
    context = SimpleNamespace(splits=splits, tokenizer=tiny.tokenizer(), recipe=recipe)
    config = NegativesConfig(classes=["irrelevant", "mined"], classes_per_example="all", held_out=None)
    stage.run(context, config, tmp_path)
    right = {"grey hall", *(f"{word} hall" for word in words)}
    assert set(mined_from[0].references) == right and len(mined_from) == 15
    pairs = [json.loads(line) for name in (FILE, HELD_OUT) for line in (tmp_path / name).read_text().splitlines()]
    failures = {row["rejected"] for row in pairs if row["prompt"] in ("train", "validation")} - {"bad"}
    assert failures and not failures & right


@pytest.mark.parametrize(("text", "expected"), [("我们训练", 1.0), ("ab cd efg", 3.0), ("用 GPT\n写下", 2.0)])
def test_tokens_of_a_word_are_of_words_as_negatives_count_them(text: str, expected: float) -> None:
    rows = [example_from_row({"prompt": f"{i}", "completion": text}, where=f"rows:{i}") for i in range(3)]

    def characters(texts: list[str], **_: bool) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[list(t) for t in texts])

    assert tokens_per_word(SimpleNamespace(tokenizer=characters), rows) == expected


def test_a_given_pair_of_equal_sides_is_refused_before_the_model_is_loaded() -> None:
    recipe = load_recipe({"stages": ["negatives", "reward"]})
    check = row_check(recipe, lambda _: None)
    check(example(1))
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: `chosen` and `rejected` are the same text"):
        check(example(2, rejected="good 2"))
