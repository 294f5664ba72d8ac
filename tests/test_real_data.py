"""The loader on the real data sets, where they are there."""

from __future__ import annotations

from homestretch.data.sources import load


def test_real_data_sets(shared_data, tmp_path):
    splits = load(shared_data / "webnlg", on_bad_row="skip", rejected=tmp_path / "rejected.jsonl")
    assert len(splits.test) == 1862 and len(splits.train) > 6800
    assert not {e.prompt for e in splits.train} & {e.prompt for e in splits.test}
    assert len(load(shared_data / "hh_helpful", split={"train": "helpful_base"}, shares=(0, 0.1)).validation) == 280
