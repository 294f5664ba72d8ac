"""The loader on data from elsewhere: the Hub, and the real data sets where they are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homestretch.config.recipe import load_recipe
from homestretch.config.shipped import find_recipe, shipped
from homestretch.data.sources import load
from homestretch.errors import InputError
from homestretch.rewards.named import Column, ask, weighted
from homestretch.training.needs import check_needs


def test_real_data_sets(shared_data, tmp_path):
    splits = load(shared_data / "webnlg", on_bad_row="skip", rejected=tmp_path / "rejected.jsonl")
    assert len(splits.test) == 1862 and len(splits.train) > 6800
    assert not {e.prompt for e in splits.train} & {e.prompt for e in splits.test}
    assert len(load(shared_data / "hh_helpful", split={"train": "helpful_base"}, shares=(0, 0.1)).validation) == 280


TASKS = ("scitldr", "webnlg", "hh_helpful", "hh_helpful_rejected")
REAL = [name for name in shipped() if name.rpartition("/")[2] in TASKS]


@pytest.mark.parametrize("name", REAL)
def test_the_recipes_of_real_tasks_read_their_data(shared_data, tmp_path, name):
    recipe = load_recipe(find_recipe(name))
    data = recipe.dataset
    splits = load(
        shared_data / Path(data.name).name,
        columns=data.columns,
        on_bad_row=data.on_bad_row,
        rejected=tmp_path / "rejected.jsonl",
        split=data.split,
    )
    assert min(len(splits.train), len(splits.validation), len(splits.test)) > (200 if "hh" in name else 500)
    check_needs(recipe, splits)


def test_how_many_recipes_have_real_data():
    assert len(REAL) == 22


@pytest.mark.parametrize(
    ("name", "side", "number"), [("hh_helpful", "chosen", 0), ("hh_helpful_rejected", "rejected", 1)]
)
def test_each_side_has_its_text_and_its_stored_logit(shared_data, tmp_path, name, side, number):
    recipe = load_recipe(find_recipe(f"alol/{name}"))
    data, term = recipe.dataset, recipe.find("value").rewards["helpful"]
    rejected = tmp_path / "rejected.jsonl"
    folder = shared_data / "hh_helpful"
    splits = load(folder, columns=data.columns, split=data.split, on_bad_row="skip", rejected=rejected)
    lines = (folder / "helpful_base.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["prompt"]: row for row in map(json.loads, lines)}
    assert {e.prompt for e in splits.train} < set(rows)
    texts = [e.completion for e in splits.train]
    assert texts == [rows[e.prompt][side] for e in splits.train]
    logits = ask(Column("helpful", term.column), splits.train, texts, [True] * len(texts))
    assert logits == [rows[e.prompt]["reward_logits"][number] for e in splits.train]
    mean = float(weighted(term, logits).mean())
    assert mean == pytest.approx({0: 0.4028, 1: 0.3429}[number], abs=0.02), "the sheet's anchor row, of all rows"


def test_hub_names_end_in_one_sentence(monkeypatch):
    import datasets

    def absent(_):
        raise ConnectionError("no network\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(InputError) as error:
        load("someone/something")
    assert (
        str(error.value)
        == "someone/something: no such file or folder here, and the Hub does not give it (no network); check the name."
    )
