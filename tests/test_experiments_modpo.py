"""The experiments of MODPO: the bandit ends where the closed form says; rows, judges and families of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scripts import loaded

from homestretch.compared import ComparisonFolder
from homestretch.config.front import at_weights
from homestretch.config.recipe import load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.verbs.front import common_objectives

FILE = Path(__file__).resolve().parent.parent / "experiments" / "modpo" / "bandit.py"


@pytest.fixture(scope="module")
def bandit() -> ModuleType:
    return loaded("modpo_bandit", "modpo/bandit.py")


@pytest.mark.parametrize("weights", [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1), (0.2, 0.5, 0.3)])
def test_a_bandit_comes_to_the_closed_form(bandit: ModuleType, weights: tuple[float, ...]) -> None:
    problem = bandit.problem(outputs=12, objectives=len(weights), seed=3)
    assert bandit.total_variation(bandit.trained(problem, weights), bandit.optimum(problem, weights)) < 1e-3
    assert bandit.total_variation(problem.start, bandit.optimum(problem, weights)) > 0.1


def test_the_closed_form_is_that_of_the_sheet(bandit: ModuleType) -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.5], [-1.0, 1.0, 0.2]], dtype=torch.float64)
    made = bandit.Problem(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), rewards, beta=0.5)
    for weight, expected in {
        0.25: [0.098096, 0.717033, 0.184871],
        0.5: [0.290996, 0.474606, 0.234398],
        1.0: [0.814098, 0.066106, 0.119796],
    }.items():
        assert bandit.optimum(made, (weight, 1 - weight)).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_script_ends_with_a_line_of_json() -> None:
    done = subprocess.run([sys.executable, str(FILE), "--quick"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["max_total_variation"] < 1e-3


@pytest.fixture
def qa(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """The modules of rows and of rewards; the first imports the second by its name."""
    monkeypatch.syspath_prepend(str(FILE.parent))
    return loaded("qa_rows", "modpo/qa_rows.py"), loaded("qa_rewards", "modpo/qa_rewards.py")


QUESTION = {
    "question": "When was Tarn released?",
    "passages": [
        ["Tarn", "Tarn is an album.", "Tarn was released on 12 March 1987.", "A cat sat there."],
        ["Other", "Nothing of interest."],
    ],
    "gold": "Tarn was released on 12 March 1987.",
    "prediction 1": "Tarn was released in 1999. A cat sat there.",
    "prediction 2": "It is an album.",
    "prediction 3": "Released on 12 March 1987.",
    "prediction 4": "Released on 12 March 1987.",
    "preference": [2, 2, 0, 1, 2, 1],
    "feedback": {
        "errors": [
            {"error type": "Wrong-Grounding", "start": 0, "end": 27},
            {"error type": "Irrelevant", "start": 28, "end": 44},
        ],
        "missing-info": [{"passage_id": 1, "sentence_id": [2]}],
    },
}


def test_rows_are_pairs_in_the_order_of_the_preference(qa: tuple[ModuleType, ModuleType]) -> None:
    rows, _ = qa
    pairs = [(row["chosen"], row["rejected"]) for row in rows.answers(QUESTION, "train", 50, 50)]
    first, second, third = (f" {QUESTION[f'prediction {i}']}" for i in (1, 2, 3))
    # 1-2 and 1-3: the second; 1-4: neither; 2-3: the first; 2-4: the second; 3-4 are the same text.
    assert pairs == [(second, first), (third, first), (second, third), (third, second)]
    [test] = rows.answers(QUESTION, "test", 7, 3)
    assert test["completion"] == " Tarn was released" and "chosen" not in test
    assert test["prompt"] == "Tarn was released on 12 March 1987.\nQuestion: When was Tarn released?\nAnswer:"
    assert rows.evidence("Tarn", rows.flat(QUESTION), 11) == "Tarn is an album. Tarn was released on 12 March 1987."


def test_spans_mark_sentences_and_judges_learn_from_them(qa: tuple[ModuleType, ModuleType]) -> None:
    _, rewards = qa
    assert rewards.marked(QUESTION, rewards.IRRELEVANT)[1] == [False, True]
    features, wrong = rewards.marked(QUESTION, rewards.WRONG)
    assert wrong == [True, False] and features[0][2] == 1.0, "the year is in no passage"
    assert rewards.lacking(QUESTION)[1] == [False, True, False, False]
    coefficients = rewards.fitted([QUESTION] * 30)
    assert set(rewards.agreement([QUESTION], coefficients).values()) == {1.0}
    beside = {"question": [QUESTION["question"]] * 2, "passages": [rewards.flat(QUESTION)] * 2}
    beside["coefficients"] = [coefficients] * 2
    for judge, better in {"relevance": 0, "factuality": 1}.items():
        sentences = ["Tarn was released in 1999.", "A cat sat there."]
        found = getattr(rewards, judge)(completions=sentences, **beside)
        assert found.index(max(found)) == better, judge
    full, empty = rewards.completeness(completions=["Tarn was released on 12 March 1987.", ""], **beside)
    assert 0 > full > empty > -4
    assert rewards.relevance(completions=["", ""], **beside) == [0.0, 0.0]


def test_families_are_made_of_the_same_objectives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    families = loaded("families", "modpo/families.py")
    weighting = load_recipe(find_recipe("dpo/brevity"))
    alone = families.only(weighting)
    assert {name: recipe.find("dpo").shares for name, recipe in alone.items()} == {
        "only_pairs": {"weight": 1, "concise": 0},
        "only_concise": {"weight": 0, "concise": 1},
    }
    soup = at_weights(families.soup_of(weighting, list(alone), Path("out")), [0.3, 1.0])["w0.3"]
    assert [stage.name for stage in soup.stages][-3:] == ["soup", "evaluate", "report"]
    models = soup.find("soup").models
    assert models == pytest.approx({"out/only_pairs/{seed}/model": 0.3, "out/only_concise/{seed}/model": 0.7})


def test_recipes_of_qa_feedback_trade_off_what_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    script = loaded("qa_feedback", "modpo/qa_feedback.py")
    for budget in script.BUDGETS:
        made = script.recipes_of(Path("data"), budget, "somewhere", ("relevance", "factuality"))
        metrics = common_objectives(made)
        assert metrics == ["rewards/model", "rewards/relevance", "rewards/factuality"]
        assert made["morlhf"].find("ppo").shares == {"model": 0.5, "relevance": 0.25, "factuality": 0.25}
        assert made["modpo"].find("modpo").shares == {"weight": 0.5, "relevance": 0.25, "factuality": 0.25}


def test_cost_divides_each_reward_by_its_spread_over_samples_of_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    script = loaded("modpo_cost", "modpo/cost.py")

    def write(method: str, rows: list[tuple[str, float, float]]) -> None:
        made = [
            {"id": str(n), "arm": arm, "text": "", "rewards": {"model": model, "concise": concise}}
            for n, (arm, model, concise) in enumerate(rows)
        ]
        path = ComparisonFolder(tmp_path).run(method, 0).generations
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(json.dumps(row) for row in made), encoding="utf-8")

    write("ml", [("ml_raw@t1", 0.0, -4.0), ("ml_raw@t1", 4.0, -14.0), ("ml_raw", 9.0, 9.0)])
    write("modpo", [("rl_raw", 1.0, -5.0), ("rl_raw@t1", 7.0, 7.0), ("rl_raw", 3.0, -10.0)])
    found = script.sums(ComparisonFolder(tmp_path), "modpo", [0])
    assert found.columns["reward"].rows_NK[:, 0].tolist() == [0.5 * 1 / 2 - 0.5 * 1, 0.5 * 3 / 2 - 0.5 * 2]


@pytest.mark.slow
def test_a_quick_run_of_cost_ends_with_one_object(tmp_path: Path) -> None:
    command = [sys.executable, FILE.with_name("cost.py"), "--quick", "--rounds", "1", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    models = json.loads(done.stdout.splitlines()[-1])["models"]
    assert list(models) == ["ml", "modpo", "morlhf-1"]
    assert models["ml"]["seconds"] is None and models["morlhf-1"]["seconds"] > 0
    assert models["modpo"]["beyond_modpo"] is None and len(models["morlhf-1"]["beyond_modpo"]) == 3
