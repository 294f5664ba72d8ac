"""Rewards of stored text: taken as they are, refused where nothing can be learned from them, asked of a model once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from homestretch.batch import SequenceBatch
from homestretch.config.recipe import load_recipe
from homestretch.config.rewards import RewardTerm
from homestretch.config.stages import COLUMNS
from homestretch.data.records import Example, example_from_row
from homestretch.data.samplers import priority_batch
from homestretch.data.sources import Splits
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.results import RunFolder, StageRecord
from homestretch.rewards.named import NamedReward, load_rewards
from homestretch.training.needs import check_needs, row_check
from homestretch.training.precomputed import once
from homestretch.training.stored_rewards import check_rewards, refuse_negative, stored_rewards


def examples(rewards: list[float | None]) -> list[Example]:
    return [
        example_from_row({"prompt": "a", "completion": "b", "reward": r}, where=f"x.jsonl:{n}")
        for n, r in enumerate(rewards, start=1)
    ]


def tokens(rows: list[Example]) -> list[TokenizedExample]:
    return [TokenizedExample(i, [3], [4, 1], 2, reward=e.columns.get("reward")) for i, e in enumerate(rows)]


def rewards_of(rewards: list[float | None], folder: Path) -> torch.Tensor:
    rows = examples(rewards)
    return stored_rewards(SimpleNamespace(), rows, tokens(rows), folder, {})


def test_stored_rewards_are_used_as_they_are(tmp_path: Path) -> None:
    assert rewards_of([0.5, -2.0, 7.25], tmp_path / "rewards").tolist() == [0.5, -2.0, 7.25]
    assert not (tmp_path / "rewards").exists()


@pytest.mark.parametrize(
    ("rewards", "says"),
    [
        ([0.5, None, 1.0], r"^x\.jsonl:2: the row has no `reward` although others have one"),
        ([None, 0.5], r"^x\.jsonl:1: the row has no `reward`"),
        ([0.5, 0.5], r"^All 2 rewards are 0\.5"),
    ],
)
def test_rewards_that_teach_nothing_are_refused(tmp_path: Path, rewards: list[float | None], says: str) -> None:
    with pytest.raises(DataError, match=says):
        rewards_of(rewards, tmp_path / "rewards")


def test_a_model_without_a_number_is_refused() -> None:
    with pytest.raises(DataError, match=r"^x\.jsonl:2: the reward model gives no finite number"):
        check_rewards(torch.tensor([0.1, torch.nan, torch.inf]), examples([None] * 3))


def test_negative_rewards_are_no_weights() -> None:
    rows = examples([0.5, -0.25, -0.1])
    with pytest.raises(DataError, match=r"^x\.jsonl:2: the reward -0\.25 is negative, and `wbc` weighs"):
        refuse_negative(torch.tensor([0.5, -0.25, -0.1]), rows, "wbc")
    refuse_negative(torch.tensor([0.0, 1.0]), rows, "wbc")


class OfOneModel:
    """A run whose reward model gives the numbers in turn, and counts the rows that it is asked for."""

    device = torch.device("cpu")

    def __init__(self, folder: Path, logits: list[float]) -> None:
        self.folder, self.logits, self.asked = folder, logits, 0
        folder.mkdir(exist_ok=True)
        (folder / "reward.json").write_text('{"base": null}')
        (folder / "head.safetensors").write_bytes(repr(logits).encode())

    def reward_folder(self) -> Path:
        return self.folder

    def reward_options(self) -> dict[str, str | None]:
        return {"revision": None}

    def reward_model(self) -> SimpleNamespace:
        def score_ids(batch: SequenceBatch) -> torch.Tensor:
            self.asked += len(batch)
            return torch.tensor(self.logits)[batch.index_B]

        return SimpleNamespace(score_ids=score_ids)

    def named_rewards(self, terms: dict[str, RewardTerm]) -> list[NamedReward]:
        return load_rewards(terms)


def different(count: int) -> tuple[list[Example], list[TokenizedExample]]:
    rows = [example_from_row({"prompt": "a", "completion": "b" * (i + 1)}, where=f"x.jsonl:{i}") for i in range(count)]
    return rows, [TokenizedExample(i, [3], [4] * (i + 1), 2) for i in range(count)]


def test_the_reward_model_is_asked_once_for_its_probabilities(tmp_path: Path) -> None:
    """Not even by another stage or run, if its content is the same; a model with other weights is."""
    context, (rows, ids) = OfOneModel(tmp_path / "model", [0.0, 2.0, -2.0]), different(3)
    first = stored_rewards(context, rows, ids, tmp_path / "one" / "rewards", {})
    again = stored_rewards(context, rows, ids, tmp_path / "two" / "rewards", {})
    assert first.tolist() == pytest.approx([0.5, 0.880797, 0.119203], abs=1e-6)
    assert torch.equal(first, again) and context.asked == 3
    other = OfOneModel(tmp_path / "other", [0.0, 1.0, -2.0])
    assert not torch.equal(stored_rewards(other, rows, ids, tmp_path / "three" / "rewards", {}), first)
    assert other.asked == 3


def test_the_sum_and_its_parts_are_kept_as_columns(tmp_path: Path) -> None:
    context, (rows, ids) = OfOneModel(tmp_path / "model", [0.0, 2.0, -2.0]), different(3)
    (tmp_path / "mine.py").write_text("def long(completions, **_):\n    return [None, *map(len, completions[1:])]\n")
    terms = {"model": RewardTerm(weight=2.0), "long": RewardTerm(function=f"{tmp_path / 'mine.py'}:long", weight=0.5)}
    made = stored_rewards(context, rows, ids, tmp_path / "rewards", terms)
    assert made.tolist() == [0.0, 5.0, -2.5], "a reward that does not apply counts nothing"
    kept = [json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines()]
    assert [row["reward"] for row in kept] == made.tolist()
    parts = [row["rewards"] for row in kept]
    assert parts == [{"model": 0.0}, {"model": 4.0, "long": 1.0}, {"model": -4.0, "long": 1.5}]
    assert [example_from_row(row, where="x:1").completion for row in kept] == ["b", "bb", "bbb"]


def test_a_row_to_which_no_reward_applies_is_named(tmp_path: Path) -> None:
    rows, ids = different(2)
    (tmp_path / "mine.py").write_text("def some(completions):\n    return [0.5, None]\n")
    terms = {"some": RewardTerm(function=f"{tmp_path / 'mine.py'}:some")}
    context = OfOneModel(tmp_path / "model", [])
    with pytest.raises(DataError, match=r"^x\.jsonl:1: none of the rewards `some` applies"):
        stored_rewards(context, rows, ids, tmp_path / "rewards", terms)
    assert not (tmp_path / "rewards").exists() and not (tmp_path / "rewards.jsonl").exists()


def test_a_column_of_the_data_is_taken_through_the_sigmoid(tmp_path: Path) -> None:
    values = [{"prompt": "a", "completion": "b", "logits": [n, 9.0]} for n in (0.0, 2.0)]
    rows = [example_from_row(row, where=f"x.jsonl:{n}") for n, row in enumerate(values)]
    terms = {"helpful": RewardTerm(column="logits.0", sigmoid=True)}
    made = stored_rewards(OfOneModel(tmp_path / "m", []), rows, tokens(rows), tmp_path / "rewards", terms)
    assert made.tolist() == pytest.approx([0.5, 0.880797], abs=1e-6)


def test_what_was_computed_once_is_read_back_to_the_bit(tmp_path: Path) -> None:
    made = torch.randn(5)
    assert torch.equal(once(tmp_path / "x", lambda: {"a": made})["a"], made)
    assert torch.equal(once(tmp_path / "x", lambda: {"a": made + 1})["a"], made)


def test_what_another_run_has_computed_of_the_same_is_taken_over(tmp_path: Path) -> None:
    made, run = torch.randn(5), RunFolder(tmp_path / "run")
    StageRecord(name="dpo", status="running").write(run.stage(1, "dpo").record)
    once(run.stage(1, "dpo").path / "x", lambda: {"a": made}, key="k")

    def asked(name: str, key: str) -> bool:
        found = once(tmp_path / key / name, lambda: {"a": made + 1}, key=key, others=[run])["a"]
        return not torch.equal(found, made)

    assert [asked("x", "k"), asked("y", "k"), asked("x", "other")] == [False, True, True]


def needs(stages: list, rows: list[Example], **shared: object) -> None:
    check_needs(load_recipe({"stages": stages, **shared}), Splits(rows, [], [], ""))


def test_a_need_that_nobody_provides_is_refused_before_anything_runs() -> None:
    without, with_reward = examples([None, None]), examples([0.1, 0.2])
    with pytest.raises(RecipeError, match=r"^The stage `wbc-2` needs rewards of the stored responses"):
        needs(["sft", {"wbc-2": {}}], without)
    needs(["sft", "wbc"], with_reward)
    needs(["sft", "negatives", "reward", "wbc"], without)
    needs(["sft", "wbc"], without, reward_model_name_or_path="somewhere")
    with pytest.raises(DataError, match=r"^x\.jsonl:2: the row has no `reward` although others have one"):
        needs(["sft", "negatives", "reward", "wbc"], examples([0.1, None]))


def test_an_evaluation_without_test_rows_is_refused_before_anything_runs() -> None:
    rows, recipe = examples([None, None]), load_recipe({"stages": ["sft", "evaluate", "report"]})
    check_needs(recipe, Splits(rows, [], rows[:1], ""))
    with pytest.raises(
        InputError, match=r"^The stage `evaluate` has no test rows to measure on: .*dataset\.split\.test"
    ):
        check_needs(recipe, Splits(rows, rows, [], ""))


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ({"function": "nowhere.py:f"}, r"^rewards\.mine: there is no file nowhere\.py"),
        ({"function": "math:sine"}, r"^rewards\.mine: math has no function `sine`; did you mean `sin`"),
        (
            {"column": "logits.2"},
            r"^x\.jsonl:1: the reward `mine` reads the column `logits\.2`, and the row has no",
        ),
        ({"column": "logit.0"}, r"^x\.jsonl:1: the reward `mine` reads the column `logit\.0`"),
    ],
)
def test_a_reward_that_is_not_there_is_refused_before_anything_runs(term: dict, says: str) -> None:
    row = {"prompt": "a", "completion": "b", "logits": [0.1, 0.2]}
    rows = [example_from_row(row, where=f"x.jsonl:{n}") for n in (1, 2)]
    needs([{"wbc": {"rewards": {"mine": {"column": "logits.1"}}}}], rows)
    with pytest.raises(InputError, match=says):
        needs([{"wbc": {"rewards": {"mine": term}}}], rows)
    with pytest.raises(RecipeError, match=r"^The stage `wbc` names the reward `model`, and there is no reward model"):
        needs([{"wbc": {"rewards": {"model": 1}}}], rows)


def ranked(*rows: tuple[str, str]) -> list[Example]:
    made = [{"prompt": "a", "chosen": better, "rejected": worse} for better, worse in rows]
    return [example_from_row(row, where=f"x.jsonl:{n}") for n, row in enumerate(made, start=1)]


def test_pairs_come_from_the_data_or_from_the_stage_negatives() -> None:
    with pytest.raises(RecipeError, match=r"^The stage `dpo` needs pairs of a better and a worse response, .*`negat"):
        needs(["sft", "dpo"], examples([None]))
    needs(["sft", "negatives", "dpo"], examples([None]))
    needs(["dpo"], ranked(("b", "c"), ("c", "b")))


def test_a_pair_of_equal_texts_is_a_bad_row_where_pairs_are_learned_from() -> None:
    def check(*stages: str, **dataset: object) -> list[str]:
        long: list[str] = []
        made = load_recipe({"stages": ["sft", *stages], "dataset": dataset})
        for e in ranked(("b", "c"), ("b", "b")):
            row_check(made, lambda e: long.append(e.where))(e)
        return long

    for stages in (["dpo"], ["negatives", "reward"]):
        with pytest.raises(
            DataError, match=r"^x\.jsonl:2: `chosen` and `rejected` are the same text; .*on_bad_row=skip\.$"
        ):
            check(*stages)
    assert check("ift") == ["x.jsonl:1", "x.jsonl:2"]
    assert check("ift", truncate=True) == [], "what is cut cannot be too long"


def test_every_column_that_is_needed_has_its_sentence() -> None:
    from homestretch.training.needs import REMEDIES, WHAT

    columns = {column for column, _ in COLUMNS.values()}
    assert columns <= WHAT.keys() == REMEDIES.keys()


def test_rows_are_drawn_in_proportion_to_their_weights() -> None:
    """Chi-squared with 3 degrees of freedom: 16.3 is exceeded once in a thousand. A weight of 0 is never drawn."""
    weights = [1.0, 0.0, 2.0, 3.0, 4.0]
    drawn = [row for number in range(500) for row in priority_batch(weights, 8, seed=3, number=number)]
    expected = [len(drawn) * w / sum(weights) for w in weights]
    counts = [drawn.count(row) for row in range(5)]
    assert counts[1] == 0
    assert sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True) if e) < 16.3
    assert any(len(set(priority_batch(weights, 8, seed=3, number=n))) < 4 for n in range(5)), "with replacement"


def test_a_draw_is_a_function_of_seed_and_number() -> None:
    draw = [priority_batch([1.0] * 50, 16, seed=s, number=n) for s, n in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert draw[0] == draw[1]
    assert draw[0] != draw[2] and draw[0] != draw[3]
