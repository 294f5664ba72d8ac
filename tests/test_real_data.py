"""The loader on data from elsewhere: the Hub, and the real data sets where they are there."""

from __future__ import annotations

import pytest

from homestretch.data.sources import load
from homestretch.errors import InputError


def test_real_data_sets(shared_data, tmp_path):
    splits = load(shared_data / "webnlg", on_bad_row="skip", rejected=tmp_path / "rejected.jsonl")
    assert len(splits.test) == 1862 and len(splits.train) > 6800
    assert not {e.prompt for e in splits.train} & {e.prompt for e in splits.test}
    assert len(load(shared_data / "hh_helpful", split={"train": "helpful_base"}, shares=(0, 0.1)).validation) == 280


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
