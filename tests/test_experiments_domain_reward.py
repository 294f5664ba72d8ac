"""The experiments on domain rewards: length is removed by a line, ranks are within products and over systems, all
rewards get the same pairs, and what moves beside a reward is told by intervals."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scripts import loaded
from test_ordered_page import record

from homestretch.compared import Compared
from homestretch.config.features import FeaturesConfig
from homestretch.config.methods import load_methods
from homestretch.config.yaml import load_file
from homestretch.data.records import example_from_row
from homestretch.results import Comparison

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "domain_reward"


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("domain_reward_local", FOLDER / "local.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return loaded("domain_reward_text", "domain_reward/text.py")


@pytest.fixture(scope="module")
def rl() -> ModuleType:
    return loaded("domain_reward_rl", "domain_reward/rl.py")


def test_what_length_tells_is_removed_with_a_line_from_training_texts(local: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = tuple(torch.rand(50, 1, generator=generator) for _ in range(2))
    noise = tuple(torch.rand(50, 1, generator=generator) for _ in range(2))
    values = tuple(torch.cat([3 * n + 0.25, n * n + e], 1) for n, e in zip(lengths, noise, strict=True))
    train = slice(40)
    left = local.without_length(values, lengths, train)
    assert all(side[:, 0].abs().max() < 1e-5 for side in left), "the first feature is a line of length"
    both, counts = torch.cat([side[train] for side in left]), torch.cat([side[train] for side in lengths])
    assert abs(float(np.corrcoef(both[:, 1], counts[:, 0])[0, 1])) < 1e-4
    far = (values[0].clone(), values[1])
    far[0][40:] += 100
    again = local.without_length(far, lengths, train)
    torch.testing.assert_close(again[0][:40], left[0][:40])


def test_ranks_within_products_and_over_systems(local: ModuleType) -> None:
    places = [(p, s) for p in range(2) for s in "abc"]
    ratings = np.array([1.0, 2, 3, 1, 2, 3])
    found = local.rank_correlation(np.array([1.0, 2, 3, 9, 5, 4]), ratings, places)
    assert found["summary"] == pytest.approx(0)
    found = local.rank_correlation(np.array([1.0, 2, 3, 10, 9, 9.5]), ratings, places)
    assert found == {"summary": pytest.approx((1 - 0.5) / 2), "system": pytest.approx(0.75**0.5)}  # 5.5, 5.5, 6.25
    constant = local.rank_correlation(np.array([1.0, 2, 3, 5, 5, 5]), ratings, places)
    assert constant["summary"] == pytest.approx(1), "a product without an order says nothing"


def test_rated_summaries_stay_with_their_ratings(local: ModuleType, tmp_path: Path) -> None:
    def row(product: int) -> dict:
        summaries = {
            s: {"summary": f"{s}{product}", "dimensions": {"Fluency": i + product, "Relevance": 5.0}}
            for i, s in enumerate("ba")
        }
        return {"reviews": {"rev1": "one", "rev2": "two"}, "summaries": summaries}

    file = tmp_path / "rated.jsonl"
    file.write_text("".join(json.dumps(row(product)) + "\n" for product in range(3)))
    documents, texts, places, ratings = local.rated(file, 2)
    assert texts == ["a0", "b0", "a1", "b1"] and documents == ["one\ntwo"] * 4
    assert places == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert ratings["Fluency"].tolist() == [1, 0, 2, 1] and ratings["Relevance"].tolist() == [5.0] * 4


def test_rewards_that_read_text_get_the_same_pairs_and_a_shorter_prompt(text: ModuleType, tmp_path: Path) -> None:
    for split, count in (("train", 6), ("validation", 3)):
        rows = [{"prompt": f"{split} {i} of the\nreviews", "chosen": "a", "rejected": "b"} for i in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    budget = {"train": 4, "validation": 2, "words": 2}
    out = text.pairs_in(tmp_path, tmp_path / "out", budget)
    made = {
        split: [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation", "test")
    }
    assert [row["prompt"] for row in made["train"]] == ["train 0", "train 1", "train 2"]
    assert [row["prompt"] for row in made["test"]] == ["train 3"]
    assert [row["prompt"] for row in made["validation"]] == ["validation 0", "validation 1"]
    assert made["train"][0]["document"] == "train 0 of the\nreviews", "features read all"
    whole = text.shortened({"prompt": "all of it"}, None)
    assert whole["prompt"] == whole["document"] == "all of it"


def test_seeds_are_pooled_by_mean_and_spread(text: ModuleType) -> None:
    found = text.pooled([record(right=30), record(right=34)])
    assert found["rewards"]["quality"]["accuracy"] == pytest.approx([0.75, 0.85])
    assert found["rewards"]["quality"]["mean"] == pytest.approx(0.8)
    assert found["rewards"]["quality"]["sd"] == pytest.approx(0.1 / 2**0.5)
    assert found["rewards"]["length"]["nll"] == [] and len(found["rewards"]["quality"]["nll"]) == 2
    assert [len(each) for each in found["differences"]] == [3, 3]
    assert text.pooled([record()])["rewards"]["quality"]["sd"] is None, "one seed has no spread"


@pytest.mark.parametrize("task", ["docstrings", "scitldr"])
@pytest.mark.parametrize("budget", ["full", "small", "quick"])
def test_methods_go_on_from_one_start_and_only_the_reward_is_paid_for(
    rl: ModuleType, task: str, budget: str, tmp_path: Path
) -> None:
    folder = tmp_path / "quality"
    settings = [*rl.BUDGETS[budget]["settings"], f"evaluate.rewards={json.dumps(rl.terms(folder))}"]
    settings.append(f"evaluate.metrics={json.dumps(rl.OVERLAP)}")
    made, evaluation = load_methods(rl.recipes(task, tmp_path, folder, 5), settings, {})
    methods = {method.name: method for method in made}
    assert list(methods) == ["sft", "alol", "rloo", "one_sample", "best_of"] and methods["sft"].baseline
    assert len({method.recipe.stages[0].config.model_dump_json() for method in made}) == 1
    assert {name: term.weight for name, term in evaluation.rewards.items() if term.weight} == {"quality": 1}
    assert set(evaluation.rewards) == {"quality", *rl.PAID, *rl.UNPAID}
    value, alol = methods["alol"].recipe.stages[1:3]
    assert (value.name, alol.name) == ("value", "alol") and value.config.rewards["quality"].sigmoid
    assert methods["rloo"].recipe.find("rloo").length_penalty == "none"
    samples = {name: methods[name].recipe.find("best_of").num_samples for name in ("one_sample", "best_of")}
    assert samples == {"one_sample": 1, "best_of": 5}


def test_the_net_has_the_features_that_are_called_paid_for(rl: ModuleType) -> None:
    config = FeaturesConfig.parse(load_file(rl.SETTINGS).values, where="words.yaml")
    assert sorted(config.features) == sorted(rl.PAID)


def test_references_are_the_better_side_and_features_get_their_document(rl: ModuleType) -> None:
    examples = [
        example_from_row(
            {
                "prompt": f"Say {w}:",
                "completion": f" The {w} cat sat down here.",
                "document": f"A {w} cat sat.",
                "id": w,
            },
            where=w,
        )
        for w in ("red", "big", "old", "new")
    ]
    rows = rl.preference_rows(examples)
    assert {row["id"] for row in rows} <= {"red", "big", "old", "new"} and rows
    for row in rows:
        assert row["document"] == f"A {row['id']} cat sat." and row["chosen"] != row["rejected"]
        assert row["chosen"] == f" The {row['id']} cat sat down here."


def comparison(a: str, b: str, metric: str, difference: float, *, better: bool | None = True) -> Comparison:
    ends = {"low": difference - 1, "high": difference + 1}
    return Comparison(
        a=a, b=b, metric=metric, difference=difference, **ends, p_value=0.01, n=9, higher_is_better=better
    )


def test_what_moves_with_the_reward_is_told_by_intervals(rl: ModuleType) -> None:
    comparisons = [
        comparison("alol", "sft", "rewards/quality", 2),
        comparison("alol", "sft", "rewards/relevance", -2),
        comparison("alol", "sft", "rougeL", 0.5),
        comparison("alol", "sft", "copy_rate", -3, better=False),
        comparison("alol", "sft", "length_ratio", -3, better=None),
        comparison("alol", "sft", "failures/any", 3, better=False),
        comparison("alol", "sft", "failures/copy", 3, better=False),
        comparison("one_sample", "best_of", "rewards/conciseness", 4),
        comparison("best_of", "sft", "rougeL", 9),
    ]
    found = rl.moved(Compared(comparisons=comparisons))
    assert list(found) == ["alol", "best_of"] and found["alol"]["against"] == "sft"
    assert found["alol"]["optimised"]["better"] == ["rewards/quality"]
    others = found["alol"]["others"]
    assert others["better"] == ["copy_rate"] and others["down"] == ["length_ratio"]
    assert others["worse"] == ["rewards/relevance", "failures/any"], "rules one by one are left out"
    assert others["metrics"]["rougeL"]["moved"] == "unclear"
    turned = found["best_of"]["optimised"]["metrics"]["rewards/conciseness"]
    assert (turned["difference"], turned["low"], turned["high"], turned["moved"]) == (-4, -5, -3, "worse")
    assert found["best_of"]["others"]["metrics"] == {}, "that is another control"
    assert rl.moved(Compared()) == {}


def test_the_table_of_what_moved_tells_each_method_and_marks_what_is_clear() -> None:
    table = loaded("domain_reward_table", "domain_reward/table.py")

    def found(difference: float, low: float, high: float, moved: str) -> dict[str, object]:
        return {"difference": difference, "low": low, "high": high, "moved": moved}

    paid = {"rewards/quality": found(0.25, 0.1, 0.4, "better")}
    others = {"la_rougeL": found(-1.25, -3.0, 0.5, "unclear"), "copy_rate": found(0.015, 0.01, 0.02, "up")}
    moved = {"against": "sft", "optimised": {"metrics": paid}, "others": {"metrics": others}}
    assert list(table.rows({"moved": {"alol": moved}})) == [
        ["", "`alol` - `sft`"],
        ["---", "---:"],
        ["`rewards/quality` (paid)", "**+0.25 (+0.10 to +0.40)** better"],
        ["`la_rougeL`", "-1.2 (-3.0 to +0.5)"],
        ["`copy_rate`", "**+1.5 (+1.0 to +2.0)** up"],
    ]


@pytest.mark.slow
def test_a_quick_run_of_speed_ends_with_one_object(shared_data: Path, tmp_path: Path) -> None:
    """Known summaries are answered from what is stored, which is never slower than a hundred a second."""
    command = [sys.executable, str(FOLDER / "speed.py"), "--quick", "--data", str(shared_data), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["summaries"] == 4 and last["net_rows"] > 10_000
    assert set(last["features"]) == set(load_file(FOLDER / "local.yaml").values["features"])
    assert all(found["known"] > 100 for found in last["features"].values())
