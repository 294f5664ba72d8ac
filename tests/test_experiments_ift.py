"""Experiments of intuitive fine-tuning: what their numbers mean, without a model."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from homestretch.config.ift import IFTConfig
from homestretch.data.tokenize import TokenizedExample

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "ift"


def module_of(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for other in ("run", "likelihood", "table"):  # other experiments have files of these names
        monkeypatch.delitem(sys.modules, other, raising=False)
    found = importlib.import_module(name)
    for other in ("run", "likelihood", "table"):
        monkeypatch.delitem(sys.modules, other, raising=False)
    return found


def test_the_gap_is_of_the_second_half_behind_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    likelihood = module_of("likelihood", monkeypatch)
    gold = TokenizedExample(index=0, prompt_ids=[7, 8], completion_ids=[1, 2, 3, 4, 0], ref_length=5)
    made = likelihood.behind(gold, [5, 6, 9])
    assert (made.prompt_ids, made.completion_ids) == ([7, 8, 5, 6], [3, 4, 0])
    assert likelihood.behind(gold, [5]).prompt_ids == [7, 8, 5]
    own = torch.tensor([[-1.0, -2.0, -3.0, -4.0, -5.0], [-1.0, -9.0, 0.0, 0.0, 0.0]])
    behind = torch.tensor([[-4.0, -6.0, -8.0], [-2.0, 0.0, 0.0]])
    first, second = likelihood.likelihoods(own, behind, [5, 1])
    assert first == pytest.approx({"nll": 3.0, "exposure_gap": 6.0 - 4.0})
    assert second == pytest.approx({"nll": 1.0, "exposure_gap": 1.0})


def test_equal_seconds_are_ratios_of_median_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run = module_of("run", monkeypatch)

    def log(*seconds: float) -> list[dict[str, float]]:
        rows = [{"seconds": s, "loss": 1.0} for s in seconds]
        return [*rows[:1], {"seconds": 50.0, "eval/la_rougeL": 9.0}, *rows[1:]]

    assert run.step_seconds(log(9.0, 10.0, 12.0)) == [1.0, 2.0]
    assert run.steps_of(log(9.0, 10.0, 12.0)) == 3
    # of steps 3, 3, 60 and 6 the median is 4.5; of 2 and 4 it is 3
    assert run.time_ratio([log(9, 12, 15), log(1, 61, 67)], [log(9, 11, 15)]) == pytest.approx(1.5)


def test_the_rate_is_the_one_that_was_best_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    run = module_of("run", monkeypatch)
    logs = {1e-4: [{run.CHOICE: 2.0}, {run.CHOICE: 3.0}], 1e-3: [{"loss": 9.0}, {run.CHOICE: 4.0}, {run.CHOICE: 1.0}]}
    assert run.best_rate(logs) == 1e-3
    assert run.chosen_rates(Namespace(rates=[]), FOLDER, []) == {"sft": None, "ift": None}
    assert run.chosen_rates(Namespace(rates=[1e-3]), FOLDER, []) == {"sft": 1e-3, "ift": 1e-3}


@pytest.mark.parametrize("task", ["scitldr", "webnlg"])
def test_arms_differ_in_their_switches_alone(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = module_of("run", monkeypatch)
    budgets = [[], [*run.SMALL[task], *run.SHORT[task]], [*run.QUICK, *run.SHORT[task]]]
    switches = {"lam", "gamma", "detach_weights", "lam_schedule"}
    for budget in budgets:
        recipes = {arm: run.recipe_of(task, arm, 1, Path("data"), budget) for arm in run.ARMS}
        assert {r.dataset.name for r in recipes.values()} == {f"data/{task}"}
        rest = {r.model_copy(update={"stages": []}).model_dump_json() for r in recipes.values()}
        rest_of_stage = {r.find("ift").model_dump_json(exclude=switches) for r in recipes.values()}
        assert len(rest) == len(rest_of_stage) == 1
    found = {arm: r.find("ift") for arm, r in recipes.items()}
    default = IFTConfig()
    assert {arm: (c.lam, c.gamma) for arm, c in found.items()} == {
        **dict.fromkeys(("ift", "detached", "noisy"), (default.lam, default.gamma)),
        **dict.fromkeys(("sft", "sft_seconds"), (0.0, 0.0)),
        "mixing": (default.lam, 0.0),
        "weighting": (0.0, default.gamma),
    }
    assert [arm for arm, c in found.items() if c.detach_weights] == ["detached"]
    assert [arm for arm, c in found.items() if c.lam_schedule == "noisy"] == ["noisy"]


def test_rows_are_pooled_with_their_likelihoods(monkeypatch: pytest.MonkeyPatch) -> None:
    run, table = module_of("run", monkeypatch), module_of("table", monkeypatch)
    rows = [
        {"id": str(i), "arm": arm, "text": "a b c.", "references": ["a b c."], "source": "x", "terminated": i > 0}
        | {"tokens": 4, "reward": None, "nll": nll + i, "exposure_gap": 0.5}
        for arm, nll in (("ift", 1.0), ("sft", 3.0))
        for i in range(4)
    ]
    made = run.pooled(rows)
    assert made["arms"]["ift"]["metrics"]["nll"]["value"] == pytest.approx(2.5)
    found = {c["metric"]: c for c in made["comparisons"] if (c["a"], c["b"]) == ("ift", "sft")}
    assert [found["nll"][k] for k in ("difference", "low", "high", "n")] == [-2.0, -2.0, -2.0, 4]
    assert found["failures/no_end"]["difference"] == 0
    assert "| ift | 2.500 [" in table.arms(made) and "| ift | sft | nll | -2.000 |" in table.comparisons(made)


def test_the_lake_has_one_best_path_and_one_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium", reason="experiments/ift/requirements.txt is not installed")
    lake = module_of("frozen_lake", monkeypatch)
    world = lake.lake()
    assert int(world.live_S.sum()) == 11
    cells, actions = world.path(lake.BEST)
    assert cells.tolist() == [0, 4, 8, 12] and world.best_SA[cells, actions].tolist() == [1.0] * 4
    assert world.path(lake.OTHER)[0].tolist() == [0, 1, 2, 3, 7, 11, 15, 14]
    # Two moves right of the start both ways to the goal are six moves long.
    assert world.best_SA[2].tolist() == [0.5, 0, 0.5, 0]
    moved = lake.transitions(world.best_SA.log(), world)
    torch.testing.assert_close(moved.sum(1), torch.ones(16))
    assert moved[0, 4] == 1 and moved[2, 1] == moved[2, 3] == 0.5
    # Between always best and always up from the live cells: only the start's row is compared by hand.
    only = lake.Lake(world.next_SA, torch.arange(16) == 0, world.best_SA)
    up = torch.nn.Linear(16, 4)
    torch.nn.init.zeros_(up.weight)
    up.bias.data = torch.tensor([-99.0, -99.0, -99.0, 99.0])
    assert lake.distance(up, moved, only) == pytest.approx(2 / 16)


def test_on_the_lake_mixing_vanishes_where_the_prediction_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium", reason="experiments/ift/requirements.txt is not installed")
    lake = module_of("frozen_lake", monkeypatch)
    world = lake.lake()
    right = torch.nn.Linear(16, 4)
    right.weight.data = 3 * world.best_SA.T.clone()
    right.bias.data.zero_()
    monkeypatch.setattr(lake, "GAMMA", 0.0)
    torch.testing.assert_close(lake.ift(right, world), lake.sft(right, world))
    right.weight.data = -right.weight.data
    assert not torch.isclose(lake.ift(right, world), lake.sft(right, world))
