"""Rewards on the same pairs from the outside: held-out pairs, reward models beside nets, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
import torch
from test_features import SETTINGS_OF_PAIRS, pairs

from homestretch.cli.main import run_command
from homestretch.config.features import FeaturesConfig
from homestretch.data.records import Example
from homestretch.data.sources import load
from homestretch.errors import DataError, InputError
from homestretch.ordered import Ordered
from homestretch.rewards.features import net_of, save_features
from homestretch.rewards.model import load_reward
from homestretch.verbs import ordering
from homestretch.verbs.features import fit_features, pairs_of
from homestretch.verbs.ordering import compare_rewards, explain_features
from homestretch.verbs.reward import fit_reward, reward_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pairs(tmp_path)


def by_words(folder: Path, weight: float, **settings: object) -> Path:
    """A linear reward: `weight` times minus the number of words, of twenty."""
    given = {"features": {"concise": {"low": -20, "high": 0}}, "hidden_sizes": [], **settings}
    config = FeaturesConfig.parse(given, where="here")
    net = net_of(config)
    with torch.no_grad():
        net.layers[0].weight.fill_(weight)
        net.layers[0].bias.zero_()
    save_features(config, net, folder)
    return folder


def test_a_fit_is_explained_on_the_pairs_that_it_has_not_seen(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, page = tmp_path / "features.yaml", tmp_path / "quality", tmp_path / "page.html"
    file.write_text(SETTINGS_OF_PAIRS)
    fit = ["reward", "fit", str(data), "--kind", "features", "--settings", str(file), "--out", str(out), "--curve"]
    assert run_command(fit) == 0
    capsys.readouterr()
    assert run_command(["reward", "explain", str(out), str(data), "--report", str(page)]) == 0
    said = capsys.readouterr().out
    assert "`quality` orders 100 % (70 to 100) of 9 pairs the right way; it knows more than length" in said
    assert (
        "\nfeatures' mean " in said
        and "\ntone " in said
        and "accuracy lost when shuffled" in said
        and f"report: {page}" in said
    )
    html = page.read_text(encoding="utf-8")
    assert "Fitted to 51 pairs." in html and "Fits to fewer pairs" in html
    assert run_command(["reward", "explain", str(out), str(data), "--all-pairs"]) == 0
    assert "of 60 pairs" in capsys.readouterr().out


def test_held_out_pairs_are_those_of_the_smallest_share(tmp_path: Path, data: Path) -> None:
    some = by_words(tmp_path / "some", 1.0, validation_fraction=0.1)
    more = by_words(tmp_path / "more", 1.0, validation_fraction=0.5)
    record = compare_rewards(data, [more, some])
    assert (record.pairs, record.held_out) == (6, True)
    _, held = pairs_of(data, shares=(0.1, 0), on_bad_row="error")
    _, held_more = pairs_of(data, shares=(0.5, 0), on_bad_row="error")
    assert {p.id for p in held} < {p.id for p in held_more}
    assert compare_rewards(data, [some], all_pairs=True).pairs == 60


@pytest.mark.parametrize(
    ("given", "of_model", "of_both"), [("test", 6, 6), ("validation", 10 + 6, 10), ("train", 6 + 6, 9)]
)
def test_a_reward_model_is_measured_on_what_its_fit_left_out(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, given: str, of_model: int, of_both: int
) -> None:
    folder, model = tmp_path / "split", tmp_path / "model"
    folder.mkdir()
    model.mkdir()
    (folder / "train.jsonl").write_text(data.read_text())
    if given != "train":
        more = "".join(json.dumps({"prompt": f"More {i}.", "chosen": "a", "rejected": "b"}) + "\n" for i in range(10))
        (folder / f"{given}.jsonl").write_text(more)
    (model / "reward.json").write_text("{}")
    (model / "head.safetensors").touch()
    measured: list[str] = []

    def of_text(folder: Path, pairs: Sequence[Example], device: str) -> ordering.Scored:
        measured[:] = [pair.where for pair in pairs]
        return ordering.Scored([1.0] * len(pairs), [0.0] * len(pairs))

    monkeypatch.setattr(ordering, "_of_model", of_text)
    compare_rewards(folder, model)
    splits = load(folder)  # as `reward fit` loads
    left_out = {pair.where for pair in (*splits.validation, *([] if given == "test" else splits.test))}
    assert set(measured) == left_out and len(measured) == of_model
    compare_rewards(folder, [model, by_words(tmp_path / "net", 1.0)])
    _, held = pairs_of(folder, shares=(0.15, 0), on_bad_row="error")
    assert set(measured) == left_out & {pair.where for pair in held} and len(measured) == of_both


def test_rewards_stand_beside_each_other_and_beside_length(tmp_path: Path, data: Path) -> None:
    good, bad = by_words(tmp_path / "good", 8.0), by_words(tmp_path / "bad", -8.0)
    record = compare_rewards(data, {"bad": bad, "good": good}, all_pairs=True)
    assert {name: one.accuracy.value for name, one in record.rewards.items()} == {"bad": 0, "good": 1}
    simple = {name: one.accuracy.value for name, one in record.baselines.items()}
    assert simple == {"length": 0, "bad, mean": 1, "bad.concise": 1, "good, mean": 1, "good.concise": 1}
    assert [(c.a, c.b, c.difference) for c in record.comparisons] == [
        ("bad", "good", -1), ("bad", "length", 0), ("good", "length", 1)
    ]  # fmt: skip
    assert {who: one.n for who, one in record.rewards["good"].annotators.items()} == {"a": 30, "b": 30}
    wrong = record.disagreements
    assert len(wrong) == 12 and [p.margin for p in wrong] == sorted(p.margin for p in wrong) and wrong[0].margin < 0
    words = [(len(p.chosen.split()), len(p.rejected.split())) for p in wrong]
    assert words[0] == (1, 8), "the surest first"
    assert wrong[0].margin == pytest.approx(-8 * (8 - 1) / 20)
    assert wrong[0].features["concise"] == pytest.approx((1 - 1 / 20, 1 - 8 / 20))
    assert wrong[0].annotator in ("a", "b") and wrong[0].where.startswith(f"{data}:")
    assert list(record.explanations) == ["bad", "good"] and record.explanations["good"].fit is None
    assert compare_rewards(data, [good], all_pairs=True).disagreements == []


def test_what_is_refused(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = by_words(tmp_path / "good", 1.0)
    for rewards, sentence in {
        (): "There is no reward to compare",
        (tmp_path / "nothing",): r"is not a reward model \(no reward.json\)",
        (by_words(tmp_path / "length", 1.0),): "`length` is the name of a baseline",
    }.items():
        with pytest.raises(InputError, match=sentence):
            compare_rewards(data, rewards)
    with pytest.raises(InputError, match="holds no reward of features"):
        explain_features(tmp_path, data)
    (good / "fit.json").write_text('{"pairs": 3}')
    with pytest.raises(InputError, match=r"fit.json cannot be read .*; fit the reward again, or remove it"):
        compare_rewards(data, [good])
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompt": "p", "chosen": "a", "rejected": "b c"}\n')
    (good / "fit.json").unlink()
    with pytest.raises(InputError, match=r"few.jsonl: no pair is held out; .* --all-pairs"):
        compare_rewards(few, [good])
    assert compare_rewards(few, [good], all_pairs=True).pairs == 1
    same = tmp_path / "same.jsonl"
    same.write_text('{"prompt": "p", "chosen": "a", "rejected": "a"}\n')
    assert run_command(["reward", "compare", str(same), str(good), "--all-pairs"]) == 2
    assert "same.jsonl:1: `chosen` and `rejected` are the same text" in capsys.readouterr().err
    assert run_command(["reward", "compare", str(data)]) == 2
    assert run_command(["reward", "fit", str(data), "--out", str(tmp_path / "m"), "--curve"]) == 2
    assert "--curve is for --kind features" in capsys.readouterr().err


def test_equal_folder_names_are_told_apart_by_their_paths(tmp_path: Path, data: Path) -> None:
    one, two = by_words(tmp_path / "a" / "reward", 1.0), by_words(tmp_path / "b" / "reward", -1.0)
    assert list(compare_rewards(data, [one, two]).rewards) == [str(one), str(two)]


def test_what_a_fit_cannot_use_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in pairs(tmp_path).read_text().splitlines()]
    turned = {"chosen": rows[3]["rejected"], "rejected": rows[3]["chosen"], "chosen_scores": {"tone": 5}}
    rows.append(rows[3] | turned | {"rejected_scores": {"tone": 0}})
    for row in rows:
        row["chosen_scores"]["same"] = row["rejected_scores"]["same"] = 2
    data = tmp_path / "more.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "features.yaml"
    file.write_text(SETTINGS_OF_PAIRS.replace("num_train", "  same: {column: scores.same, high: 5}\nnum_train"))
    found = fit_features(data, out=tmp_path / "out", settings=file)
    assert found["remarks"] == [
        "The feature `same` has the same value in every text and says nothing; leave it out.",
        f"Pairs that stand in the data in the other order as well: 1, such as {data}:61 ({data}:4); they cancel out: "
        "keep the order that is right.",
    ]
    assert explain_features(tmp_path / "out", data).explanations["out"].fit.remarks == found["remarks"]
    two = tmp_path / "two.jsonl"
    two.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    with pytest.raises(DataError, match=r"two.jsonl: there is nothing to measure the reward on"):
        fit_features(two, out=tmp_path / "out", settings=file)


@pytest.mark.slow
def test_reward_models_that_read_text_stand_beside_a_net(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.save(tmp_path / "model", "llama")
    short = {"reward.max_steps": 2, "reward.lora_r": 2, "reward.bf16": False}
    runs = {
        kind: fit_reward(data, model=model, out=tmp_path / kind, overrides=short | {"reward.kind": kind}).path
        for kind in ("classifier", "pairwise")
    }
    net, page = by_words(tmp_path / "net", 1.0), tmp_path / "page.html"
    places = [str(net), *map(str, runs.values())]
    assert run_command(["reward", "compare", str(data), *places, "--report", str(page)]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in ("net", "classifier", "pairwise", "length"))
    assert "classifier" in page.read_text(encoding="utf-8")
    record: Ordered = compare_rewards(data, {"net": net, **runs})
    assert list(record.explanations) == ["net"] and len(record.comparisons) == 3 + 3
    _, held = pairs_of(data, shares=(0.15, 0), on_bad_row="error")
    reward = load_reward(reward_folder(runs["pairwise"]))
    margins = [
        reward([p.prompt], [p.columns["chosen"]])[0] - reward([p.prompt], [p.columns["rejected"]])[0] for p in held
    ]
    right = sum((m > 0) + (m == 0) / 2 for m in margins) / len(margins)
    assert record.rewards["pairwise"].accuracy.value == pytest.approx(right)
    nll = sum(float(torch.nn.functional.softplus(torch.tensor(-m))) for m in margins) / len(margins)
    assert record.rewards["pairwise"].nll == pytest.approx(nll, abs=1e-4)
    fitted = (runs["pairwise"] / "stages/01-negatives/negatives.jsonl").read_text(encoding="utf-8").splitlines()
    seen = {json.loads(line)["id"] for line in fitted}
    assert seen.isdisjoint(p.id for p in held), "no reward was fitted to what it is measured on"
