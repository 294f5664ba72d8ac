"""What objectives are told of a pair: everything that is known of the row that it was made of, and no response as
evidence for itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from offline_runs import SMALL, log, recipe
from test_modpo_stage import made, rejected, rewards_of

from homestretch.config.recipe import Recipe
from homestretch.data.records import Example, example_from_row
from homestretch.errors import DataError
from homestretch.training import checkpoint
from homestretch.training.pipeline import run_recipe
from homestretch.training.stages.pairs import known_of


def row(**columns: Any) -> Example:
    return example_from_row({"id": "7", "prompt": "Who?", **columns}, where="f:1")


def test_a_made_pair_has_columns_references_and_document_of_its_row() -> None:
    of = row(completion="Ada.", references=["Ada.", "Ada L."], document="Ada wrote it.", facts=["Ada"])
    pair = row(chosen="Ada.", rejected="Bob.", failure_mode="entity")
    [known] = known_of([pair], [of])
    assert known.references == ("Ada.", "Ada L.") and known.source == "Ada wrote it."
    assert known.columns == {**pair.columns, "facts": ["Ada"]}
    assert (known.prompt, known.completion, known.where) == (pair.prompt, pair.completion, pair.where)


def test_the_better_response_of_the_data_is_no_evidence() -> None:
    alone, beside = row(chosen="Ada.", rejected="Bob."), row(chosen="Ada.", rejected="Bob.", references=["Ada L."])
    assert known_of([alone], [alone])[0].references == ()
    assert known_of([beside], [beside])[0].references == ("Ada L.",)


@pytest.mark.slow
def test_a_function_gets_its_column_for_made_failures_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def mine(completions, facts):\n    return [len(t) * n for t, n in zip(completions, facts)]\n"
    )
    objective = {"weight": 0.5, "rewards": {"mine": {"function": f"{tmp_path}/mine.py:mine", "weight": 0.5}}}
    stages = ["negatives", {"modpo": {**SMALL, **objective, "max_steps": 1}}]
    run = run_recipe(recipe(tmp_path, "llama", stages, facts=lambda row, i: i % 3), tmp_path / "run")
    found = checkpoint.load(run.path / "stages" / "02-modpo" / "objectives")[0]["reward_chosen_BM"]
    assert 0 < float((found == 0).float().mean()) < 0.5, "a third of the facts are 0"


def split(made: Recipe, folder: Path, **columns: Callable[[dict[str, Any]], Any]) -> Recipe:
    """The recipe on a folder of three files; only the training rows have the further columns."""
    rows = [json.loads(line) for line in Path(made.dataset.name).read_text().splitlines()]
    folder.mkdir()
    for name, some in (("train", rows[:40]), ("validation", rows[40:50]), ("test", rows[50:])):
        more = columns if name == "train" else {}
        written = [row | {key: of(row) for key, of in more.items()} for row in some]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    return made.model_copy(update={"dataset": made.dataset.model_copy(update={"name": str(folder)})})


def worse(row: dict[str, Any]) -> str:
    return row["completion"][::-1] + " no"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["modpo", "dpo"])
def test_without_held_out_pairs_the_last_checkpoint_is_kept(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [{kind: {**SMALL, "max_steps": 2, "metric_for_best_model": "loss"}}]
    given = split(recipe(tmp_path, "llama", stages), tmp_path / "split", rejected=worse)
    run = run_recipe(given, tmp_path / "run")
    assert f"{kind}: no pair of the validation split is left to choose a checkpoint" in capsys.readouterr().err
    assert not (run.stage(1, kind).path / "best").exists()


@pytest.mark.slow
def test_columns_that_no_reward_reads_do_not_cost_held_out_pairs(tmp_path: Path) -> None:
    stages = ["negatives", {"dpo": {**SMALL, "max_steps": 2}}]
    run = run_recipe(split(recipe(tmp_path, "llama", stages), tmp_path / "split", topic=len), tmp_path / "run")
    assert any("eval/loss" in row for row in log(run, "02-dpo"))


@pytest.mark.slow
def test_overlap_with_the_better_response_itself_is_refused(tmp_path: Path) -> None:
    overlap = {"weight": 0.5, "rewards": {"overlap": 0.5}, "max_steps": 1}
    with pytest.raises(DataError, match="The objective `overlap` applies to no pair; give it data"):
        run_recipe(made(tmp_path, overlap), tmp_path / "alone")
    others = {"references": lambda row, i: [row["completion"][: 3 + i % 5]]}
    better_NM, worse_NM = rewards_of(run_recipe(made(tmp_path, overlap, **others), tmp_path / "run"))
    assert float((better_NM > worse_NM).float().mean()) > 0.5


@pytest.mark.slow
def test_at_weight_one_modpo_is_dpo_to_the_bit(tmp_path: Path) -> None:
    alone = {**SMALL, "max_steps": 3, "learning_rate": 3e-3, "metric_for_best_model": "none"}
    stages = {"dpo": alone, "modpo": {**alone, "weight": 1.0, "rewards": {}}}
    models = [
        run_recipe(recipe(tmp_path, "llama", [{kind: settings}], rejected=rejected), tmp_path / kind).model
        for kind, settings in stages.items()
    ]
    first, second = ((model / "model.safetensors").read_bytes() for model in models)
    assert first == second
