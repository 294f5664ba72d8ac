"""What a reward of features cannot be fitted to or asked of, each in one sentence; and models that are asked once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import texts_asked
from test_features import SETTINGS_OF_PAIRS, config, noisy_pairs, pairs
from test_reward_model import made as made_reward
from test_sequence_classifier import save as save_classifier

from homestretch import ranks
from homestretch.cli.main import run_command
from homestretch.config.features import FeaturesConfig
from homestretch.config.rewards import RewardTerm
from homestretch.errors import DataError, InputError
from homestretch.rewards import cache
from homestretch.rewards.feature_fit import fitted, is_dead
from homestretch.rewards.features import net_of, save_features, scaled
from homestretch.rewards.model import RewardModel
from homestretch.rewards.named import _as_feature, load_features, load_rewards
from homestretch.rewards.sequence_classifier import SequenceClassifier
from homestretch.verbs.features import fit_features

Change = Callable[[int, dict[str, Any]], None]


def changed(folder: Path, change: Change, n: int = 12) -> tuple[Path, Path]:
    """Pairs after a change of their rows, and settings for them."""
    data, file = pairs(folder, n), folder / "features.yaml"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for number, row in enumerate(rows, 1):
        change(number, row)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file.write_text(SETTINGS_OF_PAIRS)
    return data, file


def refused(folder: Path, change: Change) -> str:
    data, file = changed(folder, change)
    with pytest.raises(DataError) as error:
        fit_features(data, out=folder / "out", settings=file)
    return str(error.value).replace(f"{data}:", "")


@pytest.mark.parametrize("value", [None, math.nan, "much"])
def test_all_rows_without_a_number_are_named(tmp_path: Path, value: Any) -> None:
    def change(number: int, row: dict[str, Any]) -> None:
        if number in (4, 8, 10):
            row["chosen_scores"] = {} if value is None else {"tone": value}

    message = refused(tmp_path, change)
    first, _, rest = message.partition(
        ", chosen: the feature `tone` has no number in the column `scores.tone`, and no "
    )
    others, _, remedy = rest.removeprefix("better at ").partition("; ")
    assert sorted([first, *others.replace(", chosen", "").split(", ")], key=int) == ["4", "8", "10"]
    assert remedy == "correct the rows (in pairs `chosen_scores.tone` and `rejected_scores.tone`), or the name."


def test_a_row_to_score_without_the_column_is_named(tmp_path: Path) -> None:
    made = FeaturesConfig.parse({"features": {"tone": {"column": "scores.tone", "high": 5}}}, where="here")
    save_features(made, net_of(made), tmp_path / "reward")
    [named] = load_rewards({"quality": RewardTerm(features=str(tmp_path / "reward"))})
    given = [{"tone": 3}, {}, {"tone": 2}, None]
    with pytest.raises(DataError, match=r"^x:1: the feature `tone` has no number in .*, and no better at x:3; correct"):
        named(["p"] * 4, ["c"] * 4, where=[f"x:{i}" for i in range(4)], scores=given)
    [plain] = load_rewards({"tone": RewardTerm(column="scores.tone")})
    with pytest.raises(
        InputError, match=r"^x:1: the reward `tone` reads the column `scores\.tone`, and the row has no"
    ):
        plain(["p"] * 4, ["c"] * 4, where=[f"x:{i}" for i in range(4)], scores=given)


@pytest.mark.parametrize(
    ("term", "value", "sentence"),
    [
        (
            {"column": "a", "high": 5},
            None,
            "has no number in the column `a`; correct the rows (in pairs `chosen_a` and",
        ),
        ({"column": "a"}, math.nan, "has no number in the column `a`; correct the rows (in pairs `chosen_a` and"),
        ({"column": "a", "high": 5}, 7.0, "is 7, outside 0 to 5; correct the rows, or the feature's `low` and `high`."),
        (
            {"function": "m:f"},
            -math.inf,
            "is -inf, outside 0 to 1; correct the rows, or the feature's `low` and `high`.",
        ),
        ({"function": "m:f"}, None, "has no value; leave these rows out, or the feature."),
        (
            {"local": "conciseness"},
            None,
            "has no value, because the document has no words that say something; give these rows another `document`, "
            "or leave them out.",
        ),
    ],
)
def test_each_problem_has_its_remedy(term: dict[str, Any], value: float | None, sentence: str) -> None:
    made = FeaturesConfig.parse({"features": {"x": term}}, where="here")
    with pytest.raises(DataError) as error:
        scaled(made, {"x": [0.5, value]}, ["one", "two"])
    assert str(error.value).startswith(f"two: the feature `x` {sentence}")


def test_a_document_without_content_has_no_aspects_to_cover() -> None:
    made = FeaturesConfig.parse({"features": {"aspects": {"local": "aspect_coverage"}}}, where="here")
    [named] = load_features(made.features)
    documents = ["A cat sat. A cat ran.", "of the and", "..."]
    values = {"aspects": named(["p"] * 3, ["a cat"] * 3, document=documents)}
    with pytest.raises(DataError, match=r"^b: the feature `aspects` has no value, because the document .* at c; give"):
        scaled(made, values, list("abc"))


def test_pairs_of_which_none_says_what_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # rejected.jsonl is written here
    data, file = changed(tmp_path, lambda _, row: row.update(rejected=row["chosen"]))
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: `chosen` and `rejected` are the same text; correct the row"):
        fit_features(data, out=tmp_path / "out", settings=file)
    with pytest.raises(DataError) as error:
        fit_features(data, out=tmp_path / "out", settings=file, on_bad_row="skip")
    assert str(error.value) == (
        f"{data}: `chosen` and `rejected` are the same text in every pair (12), so that no label says what is better; "
        "give pairs that differ."
    )
    both = tmp_path / "both"
    both.mkdir()
    data.rename(both / "train.jsonl")
    pairs(tmp_path, 3).rename(both / "validation.jsonl")
    with pytest.raises(DataError, match=r"train\.jsonl:1: .* the same text; .* \(no other training row was good"):
        fit_features(both, out=tmp_path / "out", settings=file, on_bad_row="skip")
    data, _ = changed(tmp_path, lambda number, row: row.update(rejected=row["chosen"]) if number > 1 else None)
    with pytest.raises(DataError, match=r"pairs\.jsonl: there is nothing to measure the reward on"):
        fit_features(data, out=tmp_path / "out", settings=file, on_bad_row="skip")


def test_a_net_that_leaves_the_numbers_is_dead() -> None:
    chosen, rejected = noisy_pairs()
    wild = config(learning_rate=1e20, num_train_epochs=2, hidden_sizes=[6, 4, 2])
    with pytest.raises(DataError, match=r"From 3 starts .*, or none that is finite; use .*, a smaller learning_rate"):
        fitted(wild, chosen, rejected)
    net = net_of(config(hidden_sizes=[]))
    for bias in (math.nan, math.inf):
        with torch.no_grad():
            net.layers[0].bias.fill_(bias)
        assert is_dead(net, chosen)


def test_the_command_says_how_many_starts_were_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A relu behind the output ends at 0 everywhere from most starts (sheet 5)."""
    data, file = changed(tmp_path, lambda number, row: None, n=40)
    fit = ["reward", "fit", str(data), "--kind", "features", "--settings", str(file), "--out", str(tmp_path / "out")]
    for seed in range(9):
        assert run_command([*fit, "output_activation=relu", "restarts=30", f"seed={seed}"]) == 0
        dead = json.loads((tmp_path / "out" / "fit.json").read_text())["dead_starts"]
        said = f"Of {dead + 1} starts {dead} gave every text the same reward, or none that is finite; the last one is k"
        assert (said in capsys.readouterr().out) == (dead > 0)
        if dead:
            return
    pytest.fail("no start was dead")


def test_a_model_as_a_feature_is_asked_about_a_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "cache_dir", lambda: tmp_path / "cache")
    one = {"classifier": save_classifier(tmp_path / "bert"), "label": 1}
    _, folder = made_reward(tmp_path, "llama", lora=True)
    terms = {"own": one, "pair": {**one, "reads": "pair"}, "strong": {"reward_model": str(folder)}}
    features = FeaturesConfig.parse({"features": terms}, where="here").features
    of_classifier, of_model = (texts_asked(monkeypatch, kind) for kind in (SequenceClassifier, RewardModel))
    prompts, texts, ended = ["p", "q", "p"], ["good", "good", "bad"], [True, True, False]
    first = [named(prompts, texts, terminated=ended, where=texts) for named in load_features(features)]
    assert of_classifier == [2, 3] and of_model == [3], "one reads completions alone"
    again = [named(prompts, texts, terminated=ended, where=texts) for named in load_features(features)]
    assert again == first and of_classifier == [2, 3] and of_model == [3]
    plain = load_rewards({name: RewardTerm.model_validate(term) for name, term in terms.items()})
    for remembered, named in zip(first, plain, strict=True):
        assert remembered == pytest.approx(named(prompts, texts, terminated=ended), abs=1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(ranks, "sharded", lambda: True)
        assert _as_feature(plain[2], "cpu") is plain[2].reward, "each process must make the passes that the others make"
    of_model.clear()
    load_features(features)[2](prompts, texts, terminated=[True, True, True])
    assert of_model == [1], "a text that was cut off is another one"
