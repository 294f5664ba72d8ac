"""Rewards of named features: the net, its fit, what it refuses, its folder, and its commands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from homestretch.cli.main import run_command
from homestretch.config.features import FeaturesConfig
from homestretch.config.rewards import RewardTerm
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.rewards.feature_explain import explanation
from homestretch.rewards.feature_fit import ORDERS, curve_sizes, fitted, is_dead, learning_curve, measured
from homestretch.rewards.features import SETTINGS, WEIGHTS, net_of, read_features, save_features, scaled
from homestretch.rewards.named import load_rewards
from homestretch.verbs.features import features_config, fit_features

SEVEN = {f"f{i}": {"column": f"features.f{i}", "high": 5} for i in range(7)}
OPINPREF = Path(__file__).resolve().parents[2] / "shared" / "data" / "opinpref"


def config(**settings: object) -> FeaturesConfig:
    return FeaturesConfig.parse({"features": SEVEN, **settings}, where="here")


@pytest.mark.parametrize(("sizes", "count"), [([6, 4, 2], 89), ([5, 3], 62), ([5], 46), ([], 8)])
def test_weights_of_the_sheet(sizes: list[int], count: int) -> None:
    assert sum(p.numel() for p in net_of(config(hidden_sizes=sizes)).parameters()) == count


def test_only_the_first_layer_has_an_activation() -> None:
    """By hand: one feature, layers [2, 1], relu: phi = 3 (2 max(0, v - 1/2) + 1 max(0, -v)) + 1/2."""
    net = net_of(FeaturesConfig.parse({"features": {"concise": {}}, "hidden_sizes": [2, 1]}, where="here"))
    weights = [[[1.0], [-1.0]], [-0.5, 0.0], [[2.0, 1.0]], [-9.0], [[3.0]], [27.5]]
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(value))
        assert net(torch.tensor([[1.0], [0.25], [-1.0]])).tolist() == [3.5, 0.5, 3.5]


def test_the_loss_of_the_sheet() -> None:
    fit = measured(torch.tensor([0.9, 0.4]), torch.tensor([0.4, 0.4]))
    assert fit.nll == pytest.approx((0.4740769842 + math.log(2)) / 2)
    assert (fit.accuracy, fit.accuracy_ties_half, fit.n) == (0.5, 0.75, 2)


def noisy_pairs(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in [0, 1] of which the second decides and the fourth disagrees; the others are noise."""
    generator = torch.Generator().manual_seed(5)
    a_NF, b_NF = torch.rand(2, n, 7, generator=generator)
    weights = torch.tensor([0, 8.0, 0, -4.0, 0, 0, 0])
    better = (a_NF @ weights > b_NF @ weights)[:, None]
    return torch.where(better, a_NF, b_NF), torch.where(better, b_NF, a_NF)


def test_a_fit_finds_what_decides_and_is_the_same_again() -> None:
    chosen, rejected = noisy_pairs()
    settings = config(num_train_epochs=40)
    net, dead = fitted(settings, chosen[:150], rejected[:150])
    with torch.no_grad():
        assert measured(net(chosen[150:]), net(rejected[150:])).accuracy > 0.9 and dead == 0
        both = torch.cat([chosen[:150], rejected[:150]])
        assert abs(float(net(both).mean())) < 1e-5 < float(net(both).std()), "a sigmoid says something of it"
    again, _ = fitted(settings, chosen[:150], rejected[:150])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    other, _ = fitted(config(num_train_epochs=40, seed=1), chosen[:150], rejected[:150])
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    found = explanation(settings, net, chosen, rejected)
    order = sorted(found.influence, key=lambda name: -found.influence[name].permutation)
    assert order[:2] == ["f1", "f3"] and found.influence["f1"].slope > 0 > found.influence["f3"].slope
    assert found.influence["f1"].leave_one_out > 0.2 > abs(found.influence["f0"].leave_one_out)
    curve = found.partial_dependence["f1"]
    assert curve[0] < curve[2] < curve[-1]
    r = torch.tensor(found.correlation)
    assert torch.allclose(r.diagonal(), torch.ones(7)) and torch.allclose(r, r.T)


def test_a_learning_curve_doubles_and_ends_with_all_pairs() -> None:
    assert [curve_sizes(n) for n in (20, 25, 26, 120)] == [[20], [25], [25, 26], [25, 50, 100, 120]]
    chosen, rejected = noisy_pairs(300)
    told: list[int] = []
    settings = config(num_train_epochs=30)
    train, held = (chosen[:120], rejected[:120]), (chosen[120:], rejected[120:])
    points = learning_curve(settings, train, held, on_fit=lambda: told.append(1))
    assert [p.pairs for p in points] == [25, 50, 100, 120] and len(told) == 4 * ORDERS
    means = [sum(p.accuracy) / ORDERS for p in points]
    assert means[-1] > 0.9 and means[-1] > means[0] + 0.1, "noise misleads where pairs are few"
    assert points == learning_curve(settings, train, held)
    [coin] = learning_curve(settings, (chosen[:20], chosen[:20]), held)
    assert coin.accuracy == [0.5] * ORDERS and coin.nll == pytest.approx([math.log(2)] * ORDERS)


def test_a_linear_fit_is_a_logistic_regression_without_intercept() -> None:
    from sklearn.linear_model import LogisticRegression

    chosen, rejected = noisy_pairs(400)
    flip = torch.arange(400) % 10 == 0  # so that there is an optimum
    better, worse = torch.where(flip[:, None], rejected, chosen), torch.where(flip[:, None], chosen, rejected)
    settings = config(hidden_sizes=[], weight_decay=0.0, num_train_epochs=600, max_grad_norm=1e6, train_batch_size=400)
    net, _ = fitted(settings.model_copy(update={"learning_rate": 0.2}), better, worse)
    difference = (better - worse).numpy()
    theirs = LogisticRegression(C=math.inf, fit_intercept=False).fit([*difference, *-difference], [1] * 400 + [0] * 400)
    ours = net.layers[0].weight[0]
    torch.testing.assert_close(ours, torch.tensor(theirs.coef_[0], dtype=torch.float32), atol=0.15, rtol=0.05)


def test_a_ridge_makes_weights_smaller() -> None:
    chosen, rejected = noisy_pairs()
    sizes = []
    for ridge in (0.0, 0.1):
        net, _ = fitted(config(hidden_sizes=[], ridge=ridge, num_train_epochs=40), chosen, rejected)
        sizes.append(float(net.layers[0].weight.detach().norm()))
    assert sizes[1] < 0.5 * sizes[0]


def test_a_dead_output_is_noticed_and_started_again() -> None:
    """A relu behind the output ends at 0 everywhere from most starts (sheet 5)."""
    chosen, rejected = noisy_pairs()
    dead = config(output_activation="relu", num_train_epochs=20, restarts=1)
    outcomes = []
    for seed in range(8):
        try:
            fitted(dead.model_copy(update={"seed": seed}), chosen, rejected)
            outcomes.append("alive")
        except DataError:
            outcomes.append("dead")
    assert {"dead", "alive"} == set(outcomes)
    seed = outcomes.index("dead")
    with pytest.raises(DataError, match="From 1 starts the net gave every text the same reward, or none that is"):
        fitted(dead.model_copy(update={"seed": seed}), chosen, rejected)
    net, before = fitted(dead.model_copy(update={"seed": seed, "restarts": 20}), chosen, rejected)
    assert before >= 1 and not is_dead(net, chosen)
    with pytest.raises(DataError, match="have the same features in every pair"):
        fitted(config(), chosen, chosen)


def test_features_are_scaled_by_their_range_in_the_order_of_their_names() -> None:
    ranges = {"rules": {"low": -1, "high": 0}, "concise": {"low": -10, "high": 0}}
    made = FeaturesConfig.parse({"features": ranges}, where="here")
    values = {"rules": [-1.0, 0.0], "concise": [-5.0, 0.0]}
    assert scaled(made, values, ["a", "b"]).tolist() == [[0.5, 0.0], [1.0, 1.0]]
    six = {"rules": [0.0] * 6, "concise": [1.0, 0.0, 2.0, math.nan, None, 5.0]}
    with pytest.raises(DataError, match=r"^a: the feature `concise` is 1, .*, and no better at c, d, e and 1 mo"):
        scaled(made, six, list("abcdef"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"features": {}}, "needs one feature at least"),
        ({"features": {"concise": {"low": 2, "high": 1}}}, "low 2 is not below high 1"),
        ({"features": {"concise": 2.0}}, "a feature has no weight"),
        ({"features": {"speed": {}}}, "`speed` is no reward"),
        ({"features": {"concise": {}}, "activation": "gelu"}, "activation"),
        ({}, "`features` is missing"),
    ],
)
def test_settings_that_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        FeaturesConfig.parse(settings, where="here")


def pairs(folder: Path, n: int = 60) -> Path:
    """Better texts are shorter, and their stored score is higher."""
    rows = [
        {
            "prompt": f"Say number {i}.",
            "chosen": "yes " * (1 + i % 3),
            "rejected": "no " * (5 + i % 4),
            "chosen_scores": {"tone": 3 + i % 3},
            "rejected_scores": {"tone": i % 4},
            "annotator": "ab"[i % 2],
        }
        for i in range(n)
    ]
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


SETTINGS_OF_PAIRS = """
features:
  concise: {low: -20, high: 0}
  tone: {column: scores.tone, high: 5}
num_train_epochs: 20
"""


def test_the_commands_fit_explain_and_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out, file = pairs(tmp_path), tmp_path / "reward", tmp_path / "features.yaml"
    file.write_text(SETTINGS_OF_PAIRS)
    settings = ["--settings", str(file), "--out", str(out)]
    assert run_command(["reward", "fit", str(data), "--kind", "features", *settings]) == 0
    assert "length alone" in (said := capsys.readouterr().out) and "features.tone alone" in said
    fit = json.loads((out / "fit.json").read_text())
    assert fit["validation"]["accuracy"] == 1 and fit["alone"]["length"] == 0 and fit["alone"]["features.concise"] == 1
    assert set(fit["annotators"]) <= {"a", "b"} and fit["pairs"]["train"] + fit["pairs"]["validation"] == 60
    assert run_command(["reward", "explain", str(out), str(data)]) == 0
    assert "`reward` orders 100 % (70 to 100) of 9 pairs the right way" in capsys.readouterr().out
    texts = {"yes": 5, "no " * 9: 0}
    rows = [{"prompt": text, "completion": text, "scores": {"tone": tone}} for text, tone in texts.items()]
    scored, made = tmp_path / "rows.jsonl", tmp_path / "s.jsonl"
    scored.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_command(["reward", "score", str(out), str(scored), "--out", str(made), "--split", "train"]) == 0
    good, bad = (json.loads(line)["reward"] for line in made.read_text().splitlines())
    assert good > bad
    assert run_command(["reward", "fit", str(data), *settings]) == 2
    assert "--settings is for --kind features" in capsys.readouterr().err


def test_a_folder_is_a_reward_like_any_other_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    chosen, rejected = noisy_pairs()
    made = FeaturesConfig.parse({"features": {"concise": {"low": -10, "high": 0}}, "hidden_sizes": []}, where="here")
    net, _ = fitted(made, chosen[:, 1:2], rejected[:, 1:2])
    save_features(made, net, tmp_path / "reward")
    config_again, net_again = read_features(tmp_path / "reward")
    assert config_again == made
    [named] = load_rewards({"quality": RewardTerm(features=str(tmp_path / "reward"), weight=2.0)})
    given = named(["p", "p"], ["a b", "a b c d"], where=["x:1", "x:2"])
    with torch.no_grad():
        assert given == pytest.approx([2 * float(v) for v in net_again(torch.tensor([[0.8], [0.6]]))])
    (tmp_path / "reward" / WEIGHTS).write_bytes(b"no")
    with pytest.raises(InputError, match=r"holds no reward of features .*make one with `homestretch reward fit --kind"):
        read_features(tmp_path / "reward")
    (tmp_path / "reward" / SETTINGS).unlink()
    with pytest.raises(InputError, match="holds no reward of features"):
        read_features(tmp_path / "reward")


def test_features_that_are_columns_say_nothing_about_samples(tmp_path: Path) -> None:
    from homestretch.config.recipe import load_recipe
    from homestretch.training.needs import check_rewards

    made = FeaturesConfig.parse({"features": {"tone": {"column": "scores.tone", "high": 5}}}, where="here")
    save_features(made, net_of(made), tmp_path / "reward")
    terms = {"quality": {"features": str(tmp_path / "reward")}}
    for stage in ({"evaluate": {"rewards": terms}}, {"rloo": {"rewards": terms}}):
        recipe = load_recipe({"stages": ["sft", stage]})
        with pytest.raises(
            RecipeError, match="the reward `quality` has features that are columns of the data, which say"
        ):
            check_rewards(recipe.stages[-1], {"sft"}, [])
    check_rewards(load_recipe({"stages": ["sft", {"wbc": {"rewards": terms}}]}).stages[-1], {"sft"}, [])


def test_settings_come_from_a_file_with_overrides_on_top(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(SETTINGS_OF_PAIRS)
    made = features_config(file, ["hidden_sizes=[]", "features.concise.low=-30"])
    assert made.hidden_sizes == [] and made.features["concise"].low == -30 and made.num_train_epochs == 20
    with pytest.raises(RecipeError, match=r"unknown key `features\.concise\.hi`"):
        features_config(file, ["features.concise.hi=2"])
    with pytest.raises(DataError, match=r"pairs.jsonl:\d+, (chosen|rejected): the feature `tone` is 5, outside 0 to 4"):
        fit_features(pairs(tmp_path), out=tmp_path / "out", settings=file, overrides=["features.tone.high=4"])
    assert not any((tmp_path / "out").iterdir()), "nothing half-written"


@pytest.mark.skipif(not OPINPREF.is_dir(), reason="the preference pairs of opinion summaries are not there")
def test_stored_scores_order_real_preferences_as_well_as_the_sheet_says() -> None:
    names = [
        "aspect-coverage",
        "opinion-faithfulness",
        "opinion-coverage",
        "conciseness",
        "relevance",
        "hallucination",
        "language-correctness",
    ]
    made = FeaturesConfig.parse(
        {"features": {n.replace("-", "_"): {"column": f"features.{n}", "high": 5} for n in names}}, where="here"
    )

    def sides(split: str) -> list[torch.Tensor]:
        rows = [json.loads(line) for line in (OPINPREF / f"{split}.jsonl").read_text().splitlines()]
        return [
            scaled(made, {n.replace("-", "_"): [r[f"{s}_features"][n] for r in rows] for n in names}, [s] * len(rows))
            for s in ("chosen", "rejected")
        ]

    net, dead = fitted(made, *sides("train"))
    with torch.no_grad():
        fit = measured(*(net(side) for side in sides("validation")))
    assert 0.70 <= fit.accuracy <= 0.79 and fit.nll <= 0.52 and dead == 0 and fit.n == 140
