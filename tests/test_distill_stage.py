"""Stage `distill` in whole runs: every source of texts, what is kept, exact resume, teachers that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from offline_runs import SFT, SMALL, log, recipe, same_after_being_killed, weights
from toy import row

from homestretch.algorithms.distill import Distill
from homestretch.config.distill import DistillConfig
from homestretch.config.recipe import Recipe
from homestretch.data.collate import collate
from homestretch.errors import InputError, RecipeError
from homestretch.generation.rollout import replaced
from homestretch.policies.load import load_lm
from homestretch.results import RunFolder
from homestretch.training import checkpoint
from homestretch.training.pipeline import run_recipe
from homestretch.training.teacher import batches

STAGE = "01-distill"
RUNS = {
    "offline": ("llama", {"source": "offline", "num_generations": 2}),
    "offline, best tokens": ("t5", {"source": {"offline": 0.5, "data": 0.5}, "top_k": 8}),
    "offline, states": ("llama", {"source": {"offline": 0.5, "data": 0.5}, "keep_states": True, "divergence": "jsd"}),
    "teacher": ("t5", {"source": "online_teacher", "divergence": "jsd", "beta": 0.3}),
    "student": ("llama", {"source": "online_student", "divergence": "reverse_kl", "num_generations": 2}),
    "mixture": ("gpt2", {"source": {"online_student": 0.5, "data": 0.25, "offline": 0.25}, "use_peft": False}),
    "best tokens of new texts": ("llama", {"source": "online_student", "top_k": 8, "reduction": "sequence"}),
    "whole texts": ("llama", {"divergence": "sequence", "temperature": 0.8}),
}


def teacher_of(folder: Path, name: str, *, seed: int = 7) -> str:
    """Another model than the student's start."""
    return tiny.save(folder / f"teacher-{name}-{seed}", name, seed=seed, std=0.2)


def made(folder: Path, name: str, settings: dict[str, Any], *, teacher: str | None = None, **shared: Any) -> Recipe:
    fixed = {**SMALL, "learning_rate": 3e-3, "metric_for_best_model": "none"}
    settings = {"teacher_name_or_path": teacher or teacher_of(folder, name), **fixed, **settings}
    return recipe(folder, name, [{"distill": settings}], shared)


def steps(run: RunFolder) -> list[dict[str, Any]]:
    return [r for r in log(run, STAGE) if "loss" in r]


@pytest.mark.slow
@pytest.mark.parametrize("case", RUNS)
def test_killed_and_started_again_gives_the_same_bits(tmp_path: Path, case: str) -> None:
    name, settings = RUNS[case]
    run = same_after_being_killed(made(tmp_path, name, settings), tmp_path, STAGE)
    rows = steps(run)
    assert len(rows) == 4 and rows[0]["loss"] > 1e-3
    kind = "nll" if case == "whole texts" else "divergence"
    assert kind in rows[0] and 1 <= rows[0]["completions/mean_length"] <= 16
    held_out = [row["eval/loss"] for row in log(run, STAGE) if "eval/loss" in row]
    assert len(held_out) == 3 and held_out[0] / 2 < rows[0]["loss"] < 2 * held_out[0], "the same measure of other texts"
    kept = {path.name for path in (run.path / "stages" / STAGE).iterdir()}
    assert ("samples" in kept) == ("offline" in str(settings.get("source", "offline")))
    assert {n for n in kept if n.startswith("laws")} == (
        {"laws-offline", "laws-data"} if case in ("offline, best tokens", "offline, states") else set()
    )


@pytest.mark.slow
def test_offline_texts_repeat_in_each_pass_and_online_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[list[int]]] = []
    inner = Distill.loss
    monkeypatch.setattr(Distill, "loss", lambda self, m, batch: seen.append(texts_of(batch)) or inner(self, m, batch))
    passes = {"train_batch_size": 100, "max_steps": 2, "micro_batch_tokens": 100_000, "eval_steps": 100}
    same = {}
    for source in ("offline", "online_teacher", "online_student"):
        seen.clear()
        run_recipe(made(tmp_path, "llama", {**passes, "source": source}), tmp_path / source)
        first, second = [texts for texts in seen if len(texts) > 40]  # the others are held out
        assert len(first) == len(second) > 40
        same[source] = sorted(first) == sorted(second)
    assert same == {"offline": True, "online_teacher": False, "online_student": False}


def texts_of(batch: Any) -> list[list[int]]:
    rows = zip(batch.prompt_ids_BP, batch.prompt_mask_BP, batch.ids_BT, batch.mask_BT, strict=True)
    return [[*prompt[a.bool()].tolist(), -1, *ids[m.bool()].tolist()] for prompt, a, ids, m in rows]


@pytest.mark.slow
def test_a_teacher_of_other_weights_is_asked_anew(tmp_path: Path) -> None:
    """In the same folder under the same name: what was kept of the old one is not taken for the new one's."""
    teacher = teacher_of(tmp_path, "llama")
    asked = made(tmp_path, "llama", {"top_k": 4}, teacher=teacher)
    first = run_recipe(asked, tmp_path / "run")
    before, texts = weights(first, STAGE), samples(first)
    at = (first.path / "stages" / STAGE / "model" / "model.safetensors").stat().st_mtime_ns
    run_recipe(asked, tmp_path / "run")
    assert (first.path / "stages" / STAGE / "model" / "model.safetensors").stat().st_mtime_ns == at, "done is done"
    shutil.rmtree(teacher)
    shutil.copytree(teacher_of(tmp_path, "llama", seed=8), teacher)
    again = run_recipe(asked, tmp_path / "run")
    assert any(not torch.equal(before[k], v) for k, v in weights(again, STAGE).items())
    assert not torch.equal(texts, samples(again)[: len(texts)]) or len(texts) != len(samples(again))


def samples(run: RunFolder) -> torch.Tensor:
    return checkpoint.load(run.path / "stages" / STAGE / "samples")[0]["ids"]


@pytest.mark.slow
def test_another_method_of_a_comparison_takes_the_texts_over(tmp_path: Path) -> None:
    teacher = teacher_of(tmp_path, "llama")
    first = run_recipe(made(tmp_path, "llama", {"top_k": 4}, teacher=teacher), tmp_path / "first")
    hard = made(tmp_path, "llama", {"divergence": "sequence"}, teacher=teacher)
    second = run_recipe(hard, tmp_path / "second", others=[first])
    files = [run.path / "stages" / STAGE / "samples" / "tensors.safetensors" for run in (first, second)]
    assert files[0].samefile(files[1])


def exchanged(folder: str, a: str, b: str) -> str:
    """The model in a folder, two of its tokens with the ids of each other."""
    file = Path(folder) / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    ids = tokenizer["model"]["vocab"]
    ids[a], ids[b] = ids[b], ids[a]
    file.write_text(json.dumps(tokenizer))
    return folder


def test_teachers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = exchanged(teacher_of(tmp_path, "llama", seed=9), "a", "b")
    with pytest.raises(InputError, match=r"has another vocabulary .*`a` has the id 5 there and 4 here.*same tokenizer"):
        run_recipe(made(tmp_path, "llama", {}, teacher=other), tmp_path / "vocabulary")
    with pytest.raises(InputError, match="one has an encoder and the other has none"):
        run_recipe(made(tmp_path, "llama", {}, teacher=teacher_of(tmp_path, "t5")), tmp_path / "kind")
    with pytest.raises(InputError, match="there is no such folder"):
        run_recipe(made(tmp_path, "llama", {}, teacher=str(tmp_path / "nowhere")), tmp_path / "nowhere-run")
    ends = Path(teacher_of(tmp_path, "llama", seed=10))
    settings = json.loads((ends / "tokenizer_config.json").read_text())
    (ends / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<s>"}))
    with pytest.raises(InputError, match="ends a text with `<s>` and the recipe's model with `</s>`: set the same"):
        run_recipe(made(tmp_path, "llama", {}, teacher=str(ends)), tmp_path / "ends")
    small = load_lm(teacher_of(tmp_path, "llama", seed=11))
    small.resize_token_embeddings(40)
    small.save_pretrained(tmp_path / "teacher-llama-11")
    for settings in ({}, {"top_k": 4}, {"source": "data"}):
        run = tmp_path / f"small-{len(settings)}-{settings.get('top_k')}"
        with pytest.raises(InputError, match=r"has logits for 40 tokens, and its tokenizer has ids up to 6\d: enlarge"):
            run_recipe(made(tmp_path, "llama", settings, teacher=str(tmp_path / "teacher-llama-11")), run)
    with pytest.raises(RecipeError, match=r"distill.top_k 64 leaves none of 64 tokens out; set it to 0"):
        run_recipe(made(tmp_path, "llama", {"top_k": 64}), tmp_path / "all")


@pytest.mark.parametrize("wrong", ["nowhere", "t5", "same"])
@pytest.mark.parametrize("role", ["teacher", "oracle"])
def test_a_stage_before_is_not_trained_for_a_teacher_or_oracle_that_does_not_fit(
    tmp_path: Path, role: str, wrong: str
) -> None:
    teacher, oracle = teacher_of(tmp_path, "llama"), teacher_of(tmp_path, "llama", seed=8)
    bad = {
        "nowhere": str(tmp_path / "nowhere"),
        "t5": teacher_of(tmp_path, "t5"),
        "same": {"teacher": oracle, "oracle": teacher}[role],
    }[wrong]
    says = {
        "nowhere": "there is no such folder",
        "t5": f"Of the {role} .* one has an encoder",
        "same": "is the teacher itself",
    }

    def asked(**names: str) -> Recipe:
        named = {"teacher_name_or_path": teacher, "oracle_name_or_path": oracle, **names}
        return recipe(tmp_path, "llama", [SFT, {"distill": {**SMALL, "max_steps": 2, **named}}])

    with pytest.raises(InputError, match=says[wrong]):
        run_recipe(asked(**{f"{role}_name_or_path": bad}), tmp_path / "run")
    assert not RunFolder(tmp_path / "run").stage_folders(), "the corrected recipe may take the same folder"


def test_a_teacher_that_the_run_makes_itself_is_looked_for_when_it_is_there(tmp_path: Path) -> None:
    teacher = str(tmp_path / "run" / "stages" / "01-sft" / "model")
    made_here = recipe(
        tmp_path, "llama", [SFT, {"distill": {**SMALL, "max_steps": 1, "teacher_name_or_path": teacher}}]
    )
    assert (run_recipe(made_here, tmp_path / "run").path / "stages" / "02-distill" / "model").is_dir()


def test_new_responses_take_the_places_of_some_rows() -> None:
    batch = collate([row(i) for i in range(4)])
    new = collate([row(3), row(1)])
    made = replaced(batch, torch.tensor([2, 0]), new)
    assert [made.ids_BT[i][made.mask_BT[i].bool()].tolist() for i in range(4)] == [
        [15, 25, 1], [15, 25, 1], [27, 1], [27, 1]
    ]  # fmt: skip
    assert torch.equal(made.prompt_ids_BP, batch.prompt_ids_BP) and torch.equal(made.index_B, batch.index_B)
    shorter = replaced(batch, torch.tensor([0]), collate([row(7)]))
    assert shorter.mask_BT[0].tolist() == [1, 1, 0] and shorter.ids_BT.shape == (4, 3)


def test_texts_and_laws_of_a_batch_are_of_the_same_source() -> None:
    config = DistillConfig(
        teacher_name_or_path="t", source={"data": 0.5, "offline": 0.5}, num_generations=2, train_batch_size=4
    )
    data = [row(i // 2) for i in range(6)]
    offline = [row(10 + i) for i in range(6)]

    def laws(start: int, rows: list[Any]) -> list[dict[str, torch.Tensor]]:
        return [
            {
                "teacher_BTK": torch.full((len(r.completion_ids), 3), start + i, dtype=torch.int32),
                "logp_teacher_BTK": torch.full((len(r.completion_ids), 3), float(-start - i)),
                "logp_others_BT": torch.full((len(r.completion_ids),), float(-start - i)),
            }
            for i, r in enumerate(rows)
        ]

    known = {"data": laws(100, data), "offline": laws(200, offline)}
    batch_of = batches(
        config, {"data": data, "offline": offline}, known, seed=0,
        source_of=lambda number, count: ["data", "offline", "offline", "data"][:count],
    )  # fmt: skip
    seen = []
    for number in range(3):
        batch = batch_of(number)
        for b, source in enumerate(["data", "offline", "offline", "data"][: len(batch)]):
            start, rows = (100, data) if source == "data" else (200, offline)
            i = int(batch.teacher_BTK[b, 0, 0]) - start
            seen.append(i)
            length = len(rows[i].completion_ids)
            assert batch.ids_BT[b, :length].tolist() == rows[i].completion_ids
            assert batch.logp_others_BT[b].tolist() == [-start - i] * length + [0] * (batch.ids_BT.shape[1] - length)
            assert batch.logp_teacher_BTK[b, 0].tolist() == [-start - i] * 3
    assert sorted(seen[:6]) == list(range(6)), "a pass has every text once"
    assert [i // 2 for i in seen[0::2]] == [i // 2 for i in seen[1::2]], "texts of a prompt stand side by side"


def test_a_teacher_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"All texts of the teacher `.*` are empty, .* set dataset.prompt_suffix"):
        run_recipe(made(tmp_path, "gpt2", {}, teacher=tiny.mute(tmp_path / "mute")), tmp_path / "run")
