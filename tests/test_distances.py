"""Distances of a student to oracle and teacher: the sum over tokens, fixed texts, and references that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from offline_runs import SMALL, log, recipe, same_after_being_killed
from toy import row, trunk_of

from homestretch.config.distill import DistillConfig
from homestretch.config.recipe import Recipe
from homestretch.config.sft import SFTConfig
from homestretch.data.collate import collate
from homestretch.errors import InputError
from homestretch.policies.policy import Policy
from homestretch.training import checkpoint
from homestretch.training.alarms import golden_signal, watched
from homestretch.training.distances import Distances, Rollouts
from homestretch.training.pipeline import run_recipe
from homestretch.training.validation import Validator

STAGE = "01-distill"


def policy(seed: int) -> Policy:
    return Policy(trunk_of("llama", seed=seed, std=0.3), None, budget=40)


def rollouts(reference: Policy) -> Rollouts:
    batch = collate([row(i) for i in range(5)])
    hidden_BSD = reference.score(batch, want={"hidden"}).hidden_BSD
    return Rollouts(reference, batch, hidden_BSD[:, :-1][batch.mask_BT.bool()].detach())


def naive(reference: Policy, student: Policy, index: int) -> tuple[float, float]:
    """Sums of KL and of the Jensen-Shannon divergence over one text, from the models' own logits in float64."""
    text = row(index)
    ids = torch.tensor([text.prompt_ids + text.completion_ids])
    laws = []
    for each in (reference, student):
        logits = each.trunk.lm(ids).logits[0, len(text.prompt_ids) - 1 : -1].double()
        laws.append(logits.softmax(-1))
    p, q = laws
    m = (p + q) / 2
    divergence = float((p * (p / q).log()).sum())
    jensen = 0.5 * float((p * (p / m).log()).sum()) + 0.5 * float((q * (q / m).log()).sum())
    return divergence, jensen


@torch.no_grad()
def test_distances_are_sums_over_the_tokens_of_a_text() -> None:
    reference, student = policy(1), policy(2)
    expected = [naive(reference, student, i) for i in range(5)]
    found = rollouts(reference).to(student, vocabulary=tiny.VOCAB)
    assert found == pytest.approx([sum(column) / 5 for column in zip(*expected, strict=True)], rel=1e-4)
    assert found[1] < found[0]


@torch.no_grad()
def test_the_student_that_is_a_reference_has_no_distance_to_it() -> None:
    oracle, teacher = policy(1), policy(2)
    of_teacher = Distances(teacher, rollouts(oracle), rollouts(teacher), tiny.VOCAB).metrics()
    assert of_teacher["proxy"] == pytest.approx(0, abs=1e-5) and of_teacher["golden"] > 1
    of_oracle = Distances(oracle, rollouts(oracle), rollouts(teacher), tiny.VOCAB).metrics()
    assert of_oracle["golden_jsd"] == pytest.approx(0, abs=1e-5) and of_oracle["proxy"] > 1


@torch.no_grad()
def test_a_distance_may_be_infinite_and_its_bounded_form_is_not() -> None:
    reference, student = policy(1), policy(2)
    head = student.trunk.head()
    barred = torch.tensor([3])
    student.head = lambda h_ND: head(h_ND).index_fill(1, barred, -torch.inf)  # type: ignore[method-assign] - one copy
    found = Distances(student, rollouts(reference), rollouts(reference), tiny.VOCAB).metrics()
    assert found["golden"] == found["proxy"] == torch.inf and 0 < found["golden_jsd"] == found["proxy_jsd"] < 10


def made(folder: Path, oracle: str, **settings: Any) -> Recipe:
    teacher = tiny.save(folder / "teacher", "llama", seed=7, std=0.2)
    fixed = {**SMALL, "learning_rate": 3e-3, "metric_for_best_model": "none", "eval_examples": 4, "eval_steps": 1}
    fixed |= {"teacher_name_or_path": teacher, "oracle_name_or_path": oracle, **settings}
    return recipe(folder, "llama", [{"distill": fixed}])


@pytest.mark.slow
def test_a_stage_logs_them_on_texts_that_stay(tmp_path: Path) -> None:
    oracle = tiny.save(tmp_path / "oracle", "llama", seed=8, std=0.2)
    asked = made(tmp_path, oracle, source="online_student")
    run = same_after_being_killed(asked, tmp_path, STAGE)
    for name in ("whole", "killed"):
        rows = [r for r in log(run, STAGE) if "eval/golden" in r]
        assert [r["step"] for r in rows] == [0, 1, 2, 3, 4]
        assert all(r["eval/proxy"] > 0 and r["eval/golden_jsd"] < r["eval/golden"] for r in rows)
        assert rows[-1]["eval/proxy"] < rows[0]["eval/proxy"], f"{name}: it comes nearer to the teacher"
    assert [r["eval/golden"] for r in log(run, STAGE) if "eval/golden" in r] == [r["eval/golden"] for r in rows]
    known = json.loads((run.path / "stages" / STAGE / "distances.json").read_text())
    assert known["teacher"]["golden"] > 0.01 and known["texts"]["oracle"]["count"] == 4
    other = run_recipe(asked, tmp_path / "other", others=[run])
    files = [r.path / "stages" / STAGE / "rollouts-oracle" / "tensors.safetensors" for r in (run, other)]
    assert files[0].samefile(files[1])
    kept = [checkpoint.load(run.path / "stages" / STAGE / f"rollouts-{n}")[0]["ids"] for n in ("oracle", "teacher")]
    assert kept[0].shape != kept[1].shape or not torch.equal(*kept)


def test_an_oracle_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    oracle = tiny.save(tmp_path / "teacher", "llama", seed=7, std=0.2)
    with pytest.raises(InputError, match=r"is the teacher itself.*trained on samples of the oracle"):
        run_recipe(made(tmp_path, oracle), tmp_path / "same")
    copy = shutil.copytree(oracle, tmp_path / "copy")
    (copy / "note.txt").write_text("other files, same weights")
    with pytest.raises(InputError, match=r"say the same.*trained on samples of the oracle"):
        run_recipe(made(tmp_path, str(copy)), tmp_path / "copied")
    encoder = tiny.save(tmp_path / "t5", "t5")
    with pytest.raises(InputError, match=r"Of the oracle .* one has an encoder"):
        run_recipe(made(tmp_path, encoder), tmp_path / "kind")


def test_the_alarms_read_both_distances() -> None:
    with_oracle = watched(DistillConfig(teacher_name_or_path="t", oracle_name_or_path="o"))
    assert with_oracle.curves == ("divergence", "nll", "eval/proxy", "eval/golden")
    rows = [{"step": i, "eval/proxy": 5 - 0.1 * i, "eval/golden": 4 + abs(i - 8) / 4} for i in range(20)]
    said = golden_signal(rows, with_oracle)["eval/golden"]
    assert "`eval/proxy` is at its best while `eval/golden`" in said and "round 8" in said
    assert "eval/golden" not in watched(DistillConfig(teacher_name_or_path="t")).curves


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "kept"), [("nll", 2), ("rougeL", 1)])
def test_a_metric_that_should_fall_chooses_its_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, kept: int
) -> None:
    values = {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5}
    monkeypatch.setattr(Validator, "metrics", lambda self, at: {metric: values[at]})
    settings = SFTConfig(**{**SMALL, "eval_steps": 1, "metric_for_best_model": metric})
    run = run_recipe(recipe(tmp_path, "llama", [{"sft": settings.model_dump(mode="json")}]), tmp_path / "run")
    assert checkpoint.load(run.path / "stages" / "01-sft" / "best")[1]["round"] == kept
