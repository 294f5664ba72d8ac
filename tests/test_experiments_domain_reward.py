"""The experiment on local extractors: length is removed by a line, ranks are within products and over systems."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "domain_reward"


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("domain_reward_local", FOLDER / "local.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
