"""The lab of teacher hacking: its recipes, what it reads from logs, a small one in whole, and what it refuses."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import tiny
import typer
from offline_runs import data

from homestretch.cli.lab import app
from homestretch.config.distill import DistillConfig
from homestretch.config.lab import (
    BASELINE,
    CASES,
    LabConfig,
    LabOverrides,
    cases,
    check_free,
    distill_recipe,
    sft_recipe,
)
from homestretch.errors import InputError, RecipeError
from homestretch.lab import Hacking, LabFolder
from homestretch.policies.load import load_lm, load_tokenizer
from homestretch.policies.scratch import learnt_tokenizer, untrained
from homestretch.report.proxies import law_of
from homestretch.training.alarms import golden_signal, watched
from homestretch.training.doctor import watcher
from homestretch.verbs.lab import teacher_hacking
from homestretch.verbs.lab_materials import Bench, check_given, dataset_settings, learners, oracle_of, prepare
from homestretch.verbs.lab_record import alarm_records, curve_of, run_record, series_of

SMALL = [
    "lab.oracle_prompts=8", "lab.distill_prompts=16", "lab.validation_prompts=3", "lab.epochs=4", "lab.evaluations=4",
    "lab.vocabulary=300", "lab.widths=[32, 16, 16]", "lab.layers=[1, 1, 1]", "dataset.max_completion_length=24",
    "oracle.max_steps=120", "oracle.eval_steps=60", "sft.max_steps=3", "sft.eval_steps=3", "oracle.learning_rate=0.02",
    "distill.train_batch_size=8", "device=cpu",
]  # fmt: skip

GIVEN = [*(text for text in SMALL if not text.startswith("oracle.")), "lab.oracle_prompts=12"]
"""For an oracle that is not trained, and whose texts do not all end."""


def made(name: str, *own: str, **lab: Any) -> DistillConfig:
    settings = LabConfig(**{"distill_prompts": 64, "epochs": 10, "evaluations": 5, **lab})
    recipe = distill_recipe(
        "s", {"name": "d"}, CASES[name], settings, oracle="o", teacher="t", scratch=True, seed=3, overrides=[*own]
    )
    assert recipe.seed == 3 and recipe.model_name_or_path == "s"
    found = recipe.find("distill")
    assert isinstance(found, DistillConfig)
    return found


def test_every_case_takes_as_many_steps_on_as_many_texts() -> None:
    settings = {name: made(name) for name in CASES}
    assert {s.max_steps for s in settings.values()} == {20}, "10 passes over 64 texts of batches of 32"
    assert {s.eval_steps for s in settings.values()} == {4}
    assert made("offline", "distill.train_batch_size=16").max_steps == 40, "10 passes still"
    assert all((s.teacher_name_or_path, s.oracle_name_or_path) == ("t", "o") for s in settings.values())
    assert [settings[n].source for n in ("offline", "online_teacher", "online_student")] == [
        {"offline": 1.0}, {"online_teacher": 1.0}, {"online_student": 1.0}
    ]  # fmt: skip
    divided = {name: (case.divide, settings[name].num_generations) for name, case in CASES.items()}
    assert divided["prompts_half"] == (2, 2) and divided["prompts_fifth"] == (5, 5)
    assert divided["generations_5"] == (1, 5) and divided[BASELINE] == (1, 1)
    assert settings["jsd"].divergence == "jsd" and not settings["jsd"].use_peft


def test_sweeps_have_the_baseline_with_them() -> None:
    assert list(cases(["prompts"])) == [BASELINE, "prompts_half", "prompts_fifth"]
    assert len(cases(["sources", "loss"])) == 5
    with pytest.raises(RecipeError, match=r"no sweep `promts`; did you mean `prompts`\?"):
        cases(["promts"])


def test_overrides_go_to_their_parts() -> None:
    asked = LabOverrides.of(["lab.epochs=3", "oracle.max_steps=5", "sft.max_steps=7", "device=cpu", "distill.beta=0.1"])
    assert asked.lab.epochs == 3 and asked.oracle == ["sft.max_steps=5"] and asked.shared == ["device=cpu"]
    recipe = sft_recipe("m", {"name": "d"}, scratch=False, seed=0, overrides=[*asked.shared, *asked.sft])
    sft = recipe.find("sft")
    assert sft is not None and (sft.max_steps, sft.metric_for_best_model, sft.use_peft) == (7, "nll", True)
    with pytest.raises(RecipeError, match="unknown key `epoch`; did you mean `epochs`"):
        LabOverrides.of(["lab.epoch=3"])
    with pytest.raises(RecipeError, match="several seeds; say which with `--seeds"):
        LabOverrides.of(["seed=3"])
    for key in ("source=data", "num_generations=2", "divergence=jsd"):
        with pytest.raises(RecipeError, match=rf"cases of the lab differ in `{key.partition('=')[0]}` and set it"):
            check_free(cases(["sources", "loss"]), ["distill.learning_rate=1e-3", f"distill.{key}"])
    check_free(cases(["sources"]), ["distill.divergence=jsd"])
    with pytest.raises(RecipeError, match="multiple of 16"):
        LabOverrides.of(["lab.widths=[30, 16, 16]"])


def test_any_file_can_be_the_data_of_a_lab() -> None:
    for name in ("my data #2.jsonl", "a: b/\U0001f600.jsonl", "{x}", "2024"):
        assert dataset_settings(name, [], scratch=False).name == name


def log(golden: list[float], proxy: list[float]) -> list[dict[str, Any]]:
    """Rows of a stage: two training rows between evaluations, the first of which is at the start."""
    rows: list[dict[str, Any]] = []
    for i, (g, p) in enumerate(zip(golden, proxy, strict=True)):
        rows += [{"step": 10 * i - 5, "divergence": p}, {"step": 10 * i, "divergence": p + 1}] if i else []
        distances = {"eval/golden": g, "eval/proxy": p, "eval/golden_jsd": g / 9, "eval/proxy_jsd": p / 9}
        rows.append({"step": 10 * i, **distances, "eval/length_ratio": 1.0})
    return rows


def test_curves_are_read_from_the_log() -> None:
    curve = curve_of(log([6, 5, 4], [5, 4, 3]))
    assert [e.step for e in curve] == [0, 10, 20] and [e.training for e in curve] == [None, 4.5, 3.5]
    assert series_of(curve, "golden") == ([0, 10, 20], [6, 5, 4])
    rows = log([6, 5, 4], [5, 4, 3])
    rows[3]["eval/golden"] = None
    assert series_of(curve_of(rows), "golden") == ([0, 10, 20], [6 / 9, 5 / 9, 4 / 9]), "infinite at one step"


def test_a_run_that_turns_is_found() -> None:
    rows = log([6, 5, 4.5, 4.8, 5.1, 5.4], [5, 4, 3, 2.5, 2.2, 2.0])  # the sheet's vector
    said = "Alarm (golden signal): `eval/proxy` is at its best while `eval/golden`, which is not trained on, is worse."
    rows += [{"step": 50, "doctor": sentence} for sentence in ("It is late.", said, said.replace("eval/golden", "x"))]
    run = run_record(rows)
    assert run.hacked and (run.best_step, run.golden_min, run.golden_last) == (20, 4.5, 5.4)
    assert run.rise == pytest.approx(0.2) and (run.proxy_at_best, run.proxy_last) == (3, 2)
    assert run.alarms == {"golden signal, eval/golden": 50, "golden signal, x": 50} and run.laws == {}
    healthy = run_record(log([6, 5, 4.5, 4.3, 4.2, 4.1], [5, 4, 3, 2.5, 2.2, 2.0]))
    assert not healthy.hacked and healthy.rise == 0
    records = alarm_records([run, healthy])
    spoke, silent = (records[f"run doctor: golden signal, eval/{key}"] for key in ("golden", "nll"))
    assert (spoke.precision, spoke.recall, spoke.lead) == (1, 1, -30)
    assert (silent.fired, silent.recall) == (0, 0)
    assert all(records[f"run doctor: {name}"].fired == 0 for name in ("power law", "generalisation gap"))
    assert records["power law of golden"].precision is None and records["power law of golden"].recall == 0


@pytest.mark.parametrize("seed", range(20))
def test_what_is_hacked_is_what_the_golden_signal_says_at_the_end(seed: int) -> None:
    """So its recall in the table of alarms is 1, which page and docs say."""
    rng = random.Random(seed)
    golden = [50 * math.exp(0.03 * rng.gauss(0, 1)) + abs(i - 6) / 2 for i in range(12)]
    rows = log(golden, [9 / (i + 1) for i in range(12)])
    config = DistillConfig(teacher_name_or_path="t", oracle_name_or_path="o")
    watch = watcher(config)
    assert watch is not None
    said = [{"step": row["step"], "doctor": sentence} for row in rows for sentence in watch(row)[0]]
    run = run_record([*rows, *said])
    assert not run.hacked or run.alarms.keys() >= {"golden signal, eval/golden"}
    assert run.hacked == bool(golden_signal(rows, watched(config)))


def test_the_law_of_a_series_is_told_with_its_end() -> None:
    steps = [10.0 * i for i in range(1, 41)]
    falling = [8 * step**-0.5 for step in steps]
    law = law_of([0.0, *steps], [9.0, *falling])
    assert law is not None and law.departure is None and law.floor == 0
    assert (law.factor, law.exponent) == (pytest.approx(8, rel=1e-6), pytest.approx(0.5, rel=1e-6))
    risen = falling[:30] + [falling[30] * 1.2 ** (i + 1) for i in range(10)]
    left = law_of(steps, risen)
    assert left is not None and left.departure == pytest.approx(310) and left.raised == 330
    assert law_of(steps[:10], falling[:10]) is None and law_of(steps, [0.0] * 40) is None


def test_models_from_nothing_share_their_tokens(tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "the dog sat on the log"] * 3
    tokenizer = learnt_tokenizer(texts, vocabulary=280)
    assert len(tokenizer) <= 280 and len(tokenizer("the cat sat").input_ids) < 11
    assert tokenizer.decode(tokenizer("Zwölf €!").input_ids) == "Zwölf €!"
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        untrained(tmp_path / name, tokenizer, width=32, layers=1, positions=20, seed=seed)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    assert load_tokenizer(str(tmp_path / "a")).get_vocab() == tokenizer.get_vocab()
    assert load_lm(str(tmp_path / "a")).config.max_position_embeddings == 20


@pytest.mark.slow
def test_a_small_lab_from_end_to_end(tmp_path: Path) -> None:
    out, pairs = tmp_path / "lab", data(tmp_path)
    record = teacher_hacking(pairs, out=out, sweeps=["prompts"], seeds=[0], overrides=SMALL)
    folder = LabFolder(out)
    assert list(record.cases) == [BASELINE, "prompts_half", "prompts_fifth"]
    case = record.cases["prompts_fifth"]
    assert (case.prompts, case.generations) == (3, 5) and case.more_than_baseline is not None
    curve = record.cases[BASELINE].runs[0].curve
    assert len(curve) == 5 and all(e.golden and e.proxy for e in curve)
    assert len(folder.curve(BASELINE, 0).read_text().splitlines()) == 5
    assert (record.golden_of_teacher[0] or 0) > 0 and "from nothing" in record.models["student"]
    assert Hacking.read(folder.record) == record
    assert "offline" in folder.report.read_text() and "<script" not in folder.report.read_text()
    prompts = [
        {json.loads(line)["prompt"] for line in (folder.data / part / "train.jsonl").read_text().splitlines()}
        for part in ("first", "second")
    ]
    assert len(prompts[0]) == 8 and len(prompts[1]) == 16 and not prompts[0] & prompts[1]
    done = {path: path.stat().st_mtime_ns for path in out.glob("**/model.safetensors")}
    assert len(done) > 5
    more = teacher_hacking(pairs, out=out, sweeps=["loss"], seeds=[0], overrides=SMALL)
    assert more.cases[BASELINE] == record.cases[BASELINE]
    assert all(path.stat().st_mtime_ns == at for path, at in done.items()), "what has been trained is kept"
    with pytest.raises(InputError, match="holds a lab of other data, models or settings"):
        teacher_hacking(pairs, out=out, seeds=[0], overrides=[*SMALL, "lab.epochs=5"])


def test_an_oracle_alone_is_taken_as_it_is_and_the_others_have_its_tokens(tmp_path: Path) -> None:
    oracle, asked = tiny.save(tmp_path / "oracle", seed=1, std=0.2), LabOverrides.of(GIVEN)
    dataset = dataset_settings(data(tmp_path), asked.shared, scratch=True)
    bench = Bench(LabFolder(tmp_path / "lab"), asked, dataset, {"oracle": oracle})
    check_given(bench)
    prepare(bench)
    assert oracle_of(bench) == oracle and not bench.folder.oracle.path.exists(), "it is not trained"
    for name, model in zip(("teacher", "student"), learners(bench, oracle, 0), strict=True):
        assert load_tokenizer(model).get_vocab() == load_tokenizer(oracle).get_vocab()
        assert load_lm(model).config.hidden_size == 16 and bench.folder.untrained(name, 0).is_dir()
    assert not bench.folder.untrained("oracle", 0).exists()
    encoder = Bench(bench.folder, asked, dataset, {"oracle": tiny.save(tmp_path / "t5", "t5")})
    with pytest.raises(InputError, match="has an encoder, and models that start from nothing have none"):
        check_given(encoder)


@pytest.mark.slow
def test_a_small_lab_with_a_given_oracle_from_end_to_end(tmp_path: Path) -> None:
    oracle, out = tiny.save(tmp_path / "oracle", seed=1, std=0.2), tmp_path / "lab"
    record = teacher_hacking(data(tmp_path), out=out, oracle=oracle, seeds=[0], overrides=GIVEN)
    assert list(record.models) == ["oracle", "teacher", "student"] and record.models["oracle"] == oracle
    assert "from nothing" in record.models["student"] and oracle in LabFolder(out).report.read_text()
    assert all(e.golden and e.proxy for e in record.cases[BASELINE].runs[0].curve)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("distill.beta=0.3", "`beta` is read with jsd alone"),
        ("distill.learning_rat=1", "did you mean `learning_rate`"),
        ("sft.max_step=3", "did you mean `max_steps`"),
        ("oracle.max_step=3", "did you mean `max_steps`"),
        ("lab.oracle_prompts=0", "takes teacher and student as they are"),
    ],
)
def test_settings_of_the_last_run_are_refused_before_the_first(tmp_path: Path, wrong: str, says: str) -> None:
    out = tmp_path / "lab"
    with pytest.raises(InputError, match=says):
        teacher_hacking(data(tmp_path), out=out, overrides=[*SMALL, "oracle.max_steps=1", wrong])
    assert not out.exists(), "and the corrected command finds no lab of other settings there"


def test_the_settings_that_the_help_names_are_taken(tmp_path: Path) -> None:
    command: Any = typer.main.get_command(app)
    (settings,) = [p for p in command.commands["teacher-hacking"].params if p.name == "settings"]
    named = settings.help.partition("e.g. ")[2].split()
    assert len(named) == 4
    asked = LabOverrides.of(named)
    made(BASELINE, *asked.distill)
    for overrides in (asked.oracle, asked.sft):
        sft_recipe("m", {"name": "d"}, scratch=True, seed=0, overrides=overrides)


def test_models_that_make_no_lab_are_refused(tmp_path: Path) -> None:
    pairs, oracle = data(tmp_path), tiny.save(tmp_path / "oracle", seed=1, std=0.2)
    student = tiny.save(tmp_path / "student", seed=2)
    given = {"oracle": oracle, "teacher": oracle, "student": student}
    with pytest.raises(InputError, match="is the teacher itself"):
        teacher_hacking(pairs, out=tmp_path / "a", **given)
    with pytest.raises(InputError, match="an oracle alone or none, and --student is missing"):
        teacher_hacking(pairs, out=tmp_path / "b", oracle=oracle, teacher=student)
    with pytest.raises(InputError, match=r"leave the settings `oracle\.` away, or `--oracle`"):
        teacher_hacking(pairs, out=tmp_path / "b", oracle=oracle, overrides=["oracle.max_steps=3"])
    with pytest.raises(InputError, match=r"All texts of the oracle `.*mute` that end are empty"):
        teacher_hacking(pairs, out=tmp_path / "g", oracle=tiny.mute(tmp_path / "mute"), overrides=GIVEN)
    learnt_tokenizer(["a"], vocabulary=300).save_pretrained(Path(student))
    with pytest.raises(InputError, match="has another vocabulary than the recipe's model"):
        teacher_hacking(pairs, out=tmp_path / "c", **given)
    with pytest.raises(InputError, match=r"lower lab.oracle_prompts and lab.distill_prompts"):
        teacher_hacking(pairs, out=tmp_path / "d", overrides=["lab.vocabulary=300"])
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no lab"):
        teacher_hacking(pairs, out=tmp_path / "f")
