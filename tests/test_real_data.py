"""The loader on data from elsewhere: the Hub, and the real data sets where they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from homestretch.config.recipe import load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.data.sources import load
from homestretch.errors import InputError


def test_real_data_sets(shared_data, tmp_path):
    splits = load(shared_data / "webnlg", on_bad_row="skip", rejected=tmp_path / "rejected.jsonl")
    assert len(splits.test) == 1862 and len(splits.train) > 6800
    assert not {e.prompt for e in splits.train} & {e.prompt for e in splits.test}
    assert len(load(shared_data / "hh_helpful", split={"train": "helpful_base"}, shares=(0, 0.1)).validation) == 280


@pytest.mark.parametrize("task", ["scitldr", "webnlg"])
def test_the_recipes_of_real_tasks_read_their_data(shared_data, tmp_path, task):
    data = load_recipe(find_recipe(f"last_mile/{task}")).dataset
    folder = shared_data / Path(data.name).name
    splits = load(folder, on_bad_row=data.on_bad_row, rejected=tmp_path / "rejected.jsonl", split=data.split)
    assert min(len(splits.train), len(splits.validation), len(splits.test)) > 500


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
