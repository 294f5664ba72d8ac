"""The experiment on reward hacking: what it concludes from logs, what its ways of running PPO share, one quick run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import loaded

from homestretch.config.ppo import PPOConfig

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "reward_hacking"
GOLDEN = {"strong": {"function": "mine:strong"}}


@pytest.fixture
def courses() -> ModuleType:
    return loaded("reward_hacking_courses", "reward_hacking/courses.py")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return loaded("reward_hacking", "reward_hacking/run.py")


def log(gold: list[float], *, every: int = 4) -> list[dict[str, Any]]:
    """Rollouts whose reward only rises, with these scores of the strong model, and validations that never change."""
    rows: list[dict[str, Any]] = [{"step": 0, "eval/la_rougeL": 40.0, "eval/failures": 0.2}]
    for step, value in enumerate(gold, start=1):
        seen = {"objective/golden/strong": value, "objective/kl": 0.5 * step}
        rows.append({"step": step, "reward": float(step), **seen})
        if step % every == 0:
            rows.append({"step": step, "eval/la_rougeL": 40.0, "eval/failures": 0.2})
    return rows


RISEN = [min(step, 25.0) / 10 for step in range(1, 49)]
TURNED = [3 - abs(step - 18) / 6 for step in range(1, 49)]


def test_a_run_is_hacked_where_the_strong_score_has_turned(courses: ModuleType) -> None:
    hacked, healthy = courses.course(log(TURNED)), courses.course(log(RISEN))
    assert hacked.turn == 20, "the last round of the fifth part of four rounds, which has the highest mean"
    assert (hacked.rounds, hacked.best, hacked.last) == (48, pytest.approx(3 - 1 / 6), pytest.approx(3 - 28.5 / 6))
    assert hacked.first == pytest.approx(3 - 15.5 / 6) and hacked.reward == 46.5 and hacked.kl == 23.25
    assert healthy.turn is None and healthy.best == healthy.last == pytest.approx(2.5)
    assert courses.course(log(TURNED)[:8]).turn is None and courses.course(log(TURNED)[:8]).rounds == 6


def test_a_fall_within_chance_is_no_turn(courses: ModuleType) -> None:
    noisy = [1 - 0.01 * step + 0.5 * (-1) ** (step // 2) for step in range(1, 49)]
    assert courses.course(log(noisy)).turn is None


def test_each_signal_is_asked_by_itself(courses: ModuleType) -> None:
    found = courses.heard(log(TURNED), PPOConfig.parse({"golden": GOLDEN}, where="here"))
    golden = found.pop("golden signal, objective/golden/strong")
    assert golden is not None and 18 < golden < 30
    assert set(found.values()) == {None}, "nothing else has changed"
    assert set(found) == {
        "golden signal, eval/failures", "over-optimisation, reward", "over-optimisation, eval/la_rougeL",
        "reward against la_rougeL",
    }  # fmt: skip


def seeds(courses: ModuleType) -> list[dict[str, Any]]:
    """Two seeds: `free` was hacked in both, and an alarm spoke in the first."""
    made = []
    for seed, alarm in enumerate((26, None)):
        found = {"start": {"samples": {"weak": 0.0, "strong": 1.0}}}
        for name, gold, score in (("free", TURNED, 0.0), ("kl_0.2", RISEN, 2.0)):
            alarms = {"golden signal": alarm if name == "free" else None}
            run = {**courses.course(log(gold))._asdict(), "kept": 4, "alarms": alarms}
            found[name] = run | {"samples": {"weak": 3.0, "strong": score + seed}}
        for name in courses.STOPPED:
            found[name] = {**courses.course(log(TURNED[:26]))._asdict(), "kept": 4}
            found[name]["samples"] = {"weak": 2.0, "strong": 2.5 + 2 * seed}
        made.append(found)
    return made


def test_alarms_are_judged_by_runs_without_a_stop(courses: ModuleType) -> None:
    row = courses.alarm_table(seeds(courses))["golden signal"]
    assert (row["runs"], row["hacked"], row["fired"], row["right"]) == (4, 2, 1, 1)
    assert (row["precision"], row["recall"], row["lead"]) == (1.0, 0.5, 20 - 26)


def test_stopped_runs_are_compared_seed_by_seed(courses: ModuleType) -> None:
    gains = courses.against(seeds(courses))
    assert set(gains) == set(courses.STOPPED) and set(gains["stopped"]) == {"start", "free", "kl_0.2"}
    assert gains["stopped"]["kl_0.2"]["seeds"] == [0.5, 1.5] and gains["stopped"]["kl_0.2"]["value"] == 1.0
    ways, alarms, differences = courses.tables(seeds(courses), courses.alarm_table(seeds(courses)), gains)
    assert [line.split()[:2] for line in ways.splitlines()[2:4]] == [["start", "0.00"], ["free", "2"]]
    assert "-6" in alarms and "+1.00" in differences and len(differences.splitlines()) == 2 + 6


@pytest.mark.parametrize("name", ["", "small", "quick"])
def test_ways_of_running_ppo_differ_in_penalty_and_doctor_alone(script: ModuleType, name: str) -> None:
    judges, budget = {"weak": Path("weak"), "strong": Path("strong")}, script.BUDGETS[name]
    made = {arm: script.arm(arm, Path("m"), Path("d"), judges, budget, 3, ["ppo.gamma=0.9"]) for arm in script.ARMS}
    own = {"kl", "kl_coef", "doctor", "golden"}
    shared = {recipe.find("ppo").model_dump_json(exclude=own) for recipe in made.values()}
    assert len(shared) == 1 and '"gamma":0.9' in shared.pop()
    assert {recipe.seed for recipe in made.values()} == {3}
    assert {recipe.reward_model_name_or_path for recipe in made.values()} == {"weak"}
    stops = {arm for arm, recipe in made.items() if recipe.find("ppo").doctor == "stop"}
    assert stops == set(script.STOPPED) and all(made[arm].find("ppo").kl == "off" for arm in ("free", *stops))
    looks = {arm for arm, recipe in made.items() if recipe.find("ppo").golden}
    assert looks == set(script.ARMS) - {"stopped_blind"}
    assert script.start(Path("m"), Path("d"), budget).find("negatives").held_out is None
    weak = script.weak(Path("m"), Path("d"), budget, 5, ["shuffled", "copy"])
    assert weak.find("negatives").classes == ["shuffled", "copy"]
    assert weak.dataset.max_train == budget["weak"] < budget["train"] and weak.seed == 5


def test_absent_data_are_said_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, FOLDER / "run.py", "--data", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1 and "there is no such folder" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_quick_run_ends_with_one_object(tmp_path: Path) -> None:
    things, colours = (
        ("house", "boat", "bird", "cup", "hat", "tree", "road", "lamp"),
        ("red", "blue", "old", "new", "big"),
    )
    rows = [
        {"prompt": f"{thing} {n} | looks | {colour}", "completion": f"The {thing} number {n} looks very {colour} now."}
        for n in range(3) for thing in things for colour in colours
    ]  # fmt: skip
    (tmp_path / "webnlg").mkdir()
    (tmp_path / "webnlg" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, FOLDER / "run.py", "--quick", "--data", tmp_path, "--out", tmp_path / "out"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["name"] == "reward_hacking" and last["budget"] == "quick" and last["seeds"] == [0]
    (found,) = last["runs"]
    assert set(found) == {"start", "free", "kl_0.05", "kl_0.2", "stopped", "stopped_blind"}
    assert found["free"]["rounds"] == 16 and found["stopped_blind"]["rounds"] <= 16
    assert all(len(found[name]["samples"]) == 2 for name in found) and set(last["auroc"]) == {"strong", "weak, seed 0"}

    def rewards(name: str) -> list[float]:
        file = tmp_path / "out" / "quick" / "ppo" / name / "0" / "stages" / "01-ppo" / "metrics.jsonl"
        return [row["reward"] for line in file.read_text().splitlines() if "reward" in (row := json.loads(line))]

    for name in ("stopped", "stopped_blind"):
        assert rewards(name) == rewards("free")[: len(rewards(name))], "the same rounds, as long as they go"
