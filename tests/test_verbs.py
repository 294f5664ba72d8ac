"""The verbs on tiny models and small files: what the commands do, without the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch

from homestretch.config.recipe import load_recipe
from homestretch.costs.memory import CPU
from homestretch.costs.shape import Shape
from homestretch.costs.time import Machine
from homestretch.data.sources import examples_of
from homestretch.errors import DataError, InputError
from homestretch.evaluate import evaluate_rows
from homestretch.results import Results
from homestretch.verbs.doctor import doctor
from homestretch.verbs.estimates import estimate, numbers_of, seconds_needed, unchecked, work_of
from homestretch.verbs.generate import generate
from homestretch.verbs.measure import measure
from homestretch.verbs.negatives import audit_negatives, make_negatives
from homestretch.verbs.reward import fit_reward, score_rows
from homestretch.verbs.run import as_texts, default_folder

WORDS = "red big old new sun sky cat dog box cup hat pen".split()


def pairs(count: int) -> list[dict[str, str]]:
    triples = [(WORDS[i % 12], WORDS[(5 * i + i // 12 + 1) % 12], WORDS[(7 * i + 2) % 12]) for i in range(count)]
    return [{"prompt": f"say the {' and '.join(t)} now:", "completion": f" the {t[0]} {t[1]} {t[2]}."} for t in triples]


def write(path: Path, rows: list[dict[str, object]] | list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.jsonl", pairs(60))


def test_generate_takes_every_row_and_answers_are_not_needed(model: str, tmp_path: Path) -> None:
    rows = [*pairs(2), {"prompt": "say it:", "id": "last"}]
    out = tmp_path / "out.jsonl"
    made = generate(
        model, write(tmp_path / "prompts.jsonl", rows), out, max_new_tokens=5, num_samples=2, temperature=1.0
    )
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == made
    assert [row["prompt"] for row in made] == [row["prompt"] for row in rows for _ in range(2)]
    assert [row["references"] for row in made[::2]] == [[rows[0]["completion"]], [rows[1]["completion"]], []]
    assert made[-1]["id"] == "last"
    assert all(row["tokens"] <= 5 and (row["terminated"] or row["tokens"] == 5) for row in made)
    again = generate(model, tmp_path / "prompts.jsonl", max_new_tokens=5, num_samples=2, temperature=1.0)
    assert again == made


def test_rows_of_a_list_on_one_line_have_ids_of_their_own(model: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"prompt": "red"}, {"prompt": "blue"}, {"prompt": "green"}]), encoding="utf-8")
    made = generate(model, path, max_new_tokens=2, num_samples=2, temperature=1.0)
    assert [row["id"] for row in made[::2]] == ["prompts.json:1", "prompts.json:1#2", "prompts.json:1#3"]
    assert [row["id"] for row in made[1::2]] == [row["id"] for row in made[::2]]
    results = evaluate_rows([row | {"references": ["red"]} for row in made], metrics=["rougeL"])
    assert results.arms["ml_raw"].metrics["rougeL"].n == 3


def test_a_long_prompt_loses_its_middle(model: str, tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", [{"prompt": "red " * 50 + "end"}, {"prompt": "red " * 30 + "end"}])
    long, other = generate(model, path, max_prompt_length=20, max_new_tokens=4)
    assert long["text"] == other["text"]
    assert long["prompt"] != other["prompt"]


def test_rows_of_a_file_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad\.jsonl:2: there is no column `prompt`"):
        examples_of(write(tmp_path / "bad.jsonl", [{"prompt": "a"}, {"promt": "b"}]))


def test_measure_compares_the_arms_of_files(tmp_path: Path) -> None:
    def arm(name: str, text: str) -> Path:
        row = {"arm": name, "references": ["the red sun."], "source": "the red sun", "text": text, "terminated": True}
        rows = [{**row, "id": str(i), "prompt": "p", "tokens": 4} for i in range(12)]
        return write(tmp_path / f"{name}.jsonl", rows)

    out = tmp_path / "results.json"
    results = measure([arm("bad", "a blue moon."), arm("good", "the red sun.")], metrics=["rougeL"], out=out)
    assert Results.read(out) == results
    assert {name: a.metrics["rougeL"].value for name, a in results.arms.items()} == {"bad": 0.0, "good": 100.0}
    [compared] = [c for c in results.comparisons if c.metric == "rougeL"]
    assert (compared.a, compared.b, compared.difference) == ("good", "bad", 100.0)
    with pytest.raises(InputError, match="generations"):
        measure([tmp_path])


def test_arms_of_one_name_are_measured_apart(tmp_path: Path) -> None:
    def source(path: Path, arms: dict[str, str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"references": ["the red sun."], "source": "the red sun", "terminated": True, "tokens": 4}
        write(path, [{**row, "id": str(i), "arm": a, "text": text} for a, text in arms.items() for i in range(12)])

    bad, good = "a blue moon.", "the red sun."
    for run, text in (("old", bad), ("new", good)):
        source(tmp_path / run / "evaluation" / "generations.jsonl", {"ml_raw": bad, "rl_raw": text})
    source(tmp_path / "more.jsonl", {"ml_raw": good, "mine": bad})
    old, new, more = tmp_path / "old", tmp_path / "new", tmp_path / "more.jsonl"
    results = measure([old, new], metrics=["rougeL"])
    assert {name: arm.metrics["rougeL"].value for name, arm in results.arms.items()} == {
        "old/ml_raw": 0,
        "old/rl_raw": 0,
        "new/ml_raw": 0,
        "new/rl_raw": 100,
    }
    compared = [(c.a, c.b, c.difference) for c in results.comparisons if c.metric == "rougeL"]
    assert compared == [("new/ml_raw", "old/ml_raw", 0), ("new/rl_raw", "old/rl_raw", 100)]
    assert set(measure([old, more], metrics=["rougeL"]).arms) == {"old/ml_raw", "rl_raw", "more/ml_raw", "mine"}
    files = [run / "evaluation" / "generations.jsonl" for run in (old, new)]
    assert f"{files[1]}/rl_raw" in measure(files, metrics=["rougeL"]).arms
    with pytest.raises(InputError, match=r"generations.jsonl is given twice; name each run or file once"):
        measure([old, new, files[1]])


def test_no_answer_of_another_row_is_a_negative_of_the_same_prompt(tmp_path: Path) -> None:
    answers = [f"Hall{i} has things{i}." for i in range(9)]
    rows = [{"prompt": "p", "completion": a} for a in answers]
    # The documents differ, so that only the answers of the prompt say what is right.
    rows = [{**row, "document": f"d{i}"} for i, row in enumerate(rows)]
    rows += [{"prompt": f"q{i}", "completion": f"Guests eat far{i} meals{i}."} for i in range(2)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = make_negatives(tmp_path / "data.jsonl", classes=["irrelevant"], max_examples=11)
    assert made and all(row["rejected"] not in answers for row in made if row["prompt"] == "p")
    assert make_negatives(tmp_path / "data.jsonl", classes=["irrelevant"], max_examples=9) == []


def test_negatives_are_made_and_audited(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "negatives.jsonl"
    rows = make_negatives(data, out, classes=["shuffled", "repetitive"], classes_per_example="all")
    assert {row["failure_mode"] for row in rows} == {"shuffled", "repetitive"}
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == rows
    found = audit_negatives(out)
    assert {c.name: c.n for c in found.classes}["all"] == len(rows)
    assert audit_negatives(data).classes[-1].n > len(rows)


@pytest.mark.slow
def test_a_reward_model_is_fitted_and_scores_text(model: str, data: Path, tmp_path: Path) -> None:
    run = fit_reward(data, model=model, out=tmp_path / "run", overrides={"reward.max_steps": 2, "reward.lora_r": 2})
    out = tmp_path / "scores.jsonl"
    rows = [*pairs(2), {**pairs(1)[0], "text": "red red red", "terminated": False}]
    scored = score_rows(run.path, write(tmp_path / "texts.jsonl", rows), out)
    assert [row["text"] for row in scored] == [*(row["completion"] for row in rows[:2]), "red red red"]
    assert all(isinstance(row["reward"], float) for row in scored)
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == scored
    assert scored[2]["reward"] != scored[0]["reward"]
    with pytest.raises(InputError, match="nothing to score"):
        score_rows(run.path, write(tmp_path / "none.jsonl", [{"prompt": "a"}]))


@pytest.mark.slow
def test_a_reward_model_learns_from_the_pairs_that_are_given(model: str, tmp_path: Path) -> None:
    rows = [{**row, "rejected": f" wrong {i}.", "id": str(i)} for i, row in enumerate(pairs(60))]
    rows = [{**row, "failure_mode": "rude"} if i % 2 else row for i, row in enumerate(rows)]
    data = write(tmp_path / "given.jsonl", [{"chosen": row.pop("completion"), **row} for row in rows])
    run = fit_reward(data, model=model, out=tmp_path / "run", overrides={"reward.max_steps": 2, "reward.lora_r": 2})
    lines = (run.stages / "01-negatives" / "negatives.jsonl").read_text(encoding="utf-8").splitlines()
    used = {row["id"]: (row["rejected"], row["failure_mode"]) for row in map(json.loads, lines)}
    given = {row["id"]: (row["rejected"], row.get("failure_mode", "rejected")) for row in rows}
    assert len(used) == len(lines) > 40
    assert used == {i: given[i] for i in used}
    assert set(json.loads((run.stages / "02-reward" / "reward_model.json").read_text())) == {"rude", "rejected"}


def test_the_doctor_sees_data_costs_and_samples(model: str, data: Path) -> None:
    stages = ["sft", "negatives", "reward", "ppo"]
    recipe = load_recipe({"model_name_or_path": model, "dataset": {"name": str(data)}, "stages": stages},
                         ["dataset.max_completion_length=5"])  # fmt: skip
    found = doctor(recipe)
    assert set(found.sections) == {"environment", "data", "estimate"}
    assert found.sections["data"]["used"] == "48 to train, 6 to choose by, 6 to report on"
    assert {"sft", "reward", "ppo", "sft memory", "ppo memory"} <= set(found.sections["estimate"])
    assert len(found.samples) == 3
    assert all(" >>> " in sample for sample in found.samples)
    assert "48 completions are longer than dataset.max_completion_length" in found.warnings[0]


SHAPE = Shape(
    parameters=1_000_000, layers=4, hidden=0, is_encoder_decoder=False, linear=1_000_000, head=0, sides=0, outputs=0,
    key_values=0,
)  # fmt: skip
LENGTHS = {"prompt": [10] * 100, "completion": [6] * 100}


def estimated(stages: list[object]) -> dict[str, str]:
    """Of 100 examples with 10 tokens of prompt and 6 of answer, at 100 operations a second for each parameter."""
    # Half of the speed is reached, and of the bandwidth, which is then that of reading the weights once a second.
    machine = Machine(rate=200 * SHAPE.parameters, bandwidth=2 * 4 * SHAPE.parameters)
    recipe = load_recipe({"stages": stages})
    return estimate(SHAPE, {}, seconds_needed(recipe, SHAPE, LENGTHS, machine=machine, rows=20))


def test_what_a_stage_holds_and_does_at_a_time() -> None:
    changed = {"value_init": "reward", "train_batch_size": 16, "num_generations": 5, "rollout_batch_size": 20}
    named = ["sft", "negatives", {"reward": {"train_batch_size": 64}}, {"ppo": changed}]
    stages = load_recipe({"stages": named}).stages
    sft, reward, ppo = (
        work_of(s.kind, s.config, LENGTHS, tokens=1024, rows=48, logits=7) for s in stages if s.kind != "negatives"
    )
    assert (sft.pass_tokens, sft.several, sft.rows, sft.row_tokens, sft.rank, sft.logits) == (256, False, 48, 16, 16, 7)
    assert (reward.pass_tokens, reward.several, reward.rows) == (1024, True, 0)  # 64 rows of 10 and twice 6
    assert (ppo.pass_tokens, ppo.adapters, ppo.views, ppo.models, ppo.rows) == (128, 3, 2, 1, 20)  # of 6 and 10 / 5
    full = load_recipe({"stages": ["negatives", "reward", {"ppo": {"use_peft": False}}]}).stages[-1]
    work = work_of(full.kind, full.config, LENGTHS, tokens=1024, rows=48, logits=7)
    assert (work.models, work.adapters, work.views, work.rank, work.rows) == (3, 2, 1, None, 48)


def test_the_doctors_times_by_hand() -> None:
    found = estimated(
        [
            {"sft": {"num_train_epochs": 2}},
            {"negatives": {"classes_per_example": 6}},
            {"reward": {"use_peft": False, "num_train_epochs": 1}},
            {"ppo": {"max_steps": 10, "rollout_batch_size": 80, "num_generations": 8, "num_ppo_epochs": 2}},
        ]
    )
    # Operations for each parameter: 4 a token where adapters learn, 6 where all weights do, at 100 a second.
    assert found["sft"] == "about 2 min 08 s"  # 2 passes of 100 rows of 10 + 6 tokens, 4 each: 12,800
    assert found["reward"] == "about 5 min 12 s"  # 100 rows of 10 and 1 + 6 answers of 6, 6 each: 31,200
    # 800 samples: 20 at a time take 6 steps of a second, 240 s; an eighth of 10 is read for 2, 20 s; then 6 and an
    # eighth of 10 by three models for 2 each, and learnt from twice for 4 each: 7.25 * 14 = 101.5, in all 812 s.
    assert found["ppo"] == "about 17 min 52 s"
    assert found["all training"].startswith("about 25 min 12 s")
    # A pass over 100 prompts of 8 samples is 10 rounds of 80.
    passes = {"num_train_epochs": 1, "rollout_batch_size": 80, "num_generations": 8, "num_ppo_epochs": 2}
    assert estimated(["negatives", "reward", {"ppo": passes}])["ppo"] == "about 17 min 52 s"
    # A number of steps counts as it is: 5 steps of 16 rows of 16 tokens, 4 each, are 5,120.
    assert estimated([{"sft": {"max_steps": 5, "train_batch_size": 16}}])["sft"] == "about 51 s"


@pytest.mark.parametrize("until", [{"samples": 200}, {"tokens": 3200}, {"tokens": 3200, "samples": 900, "seconds": 1}])
def test_the_doctor_counts_what_a_stage_may_spend(until: dict[str, int]) -> None:
    # 200 rows, as above
    assert estimated([{"sft": {"train_until": until, "max_steps": 5}}])["sft"] == "about 2 min 08 s"
    ppo = {"train_until": {"samples": 1600}, "num_generations": 8, "rollout_batch_size": 80, "num_ppo_epochs": 2}
    stages = ["sft", {"negatives": {"classes_per_example": 6}}, "reward", {"ppo": ppo}]
    assert estimated(stages)["ppo"] == "about 17 min 52 s", "800 samples in two passes, as above"


def test_memory_that_was_not_checked_is_called_rough(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe({"stages": [{"sft": {"bf16": False}}, "negatives", "reward"]})
    monkeypatch.setattr("homestretch.policies.precision.bf16_pays", lambda device: True)
    assert unchecked(recipe, torch.device("cpu")) == {"reward"}
    assert unchecked(recipe, torch.device("cuda")) == {"sft", "reward"}
    monkeypatch.setattr("homestretch.policies.precision.bf16_pays", lambda device: False)
    assert unchecked(recipe, torch.device("cpu")) == set()
    half = load_recipe({"dtype": "bfloat16", "stages": [{"sft": {"bf16": False}}]})
    assert unchecked(half, torch.device("cpu")) == {"sft"}
    assert [numbers_of(r, torch.device("cuda")).weight for r in (recipe, half)] == [4, 2]
    assert numbers_of(recipe, torch.device("cpu")) == CPU
    facts = estimate(SHAPE, {"sft": 1 << 30, "reward": 1 << 30}, {}, rough={"reward"})
    assert facts["sft memory"] == "about 1.0 GiB"
    assert facts["reward memory"].startswith("about 1.0 GiB, roughly")


def test_overrides_as_values_are_the_same_as_texts() -> None:
    values = {
        "ppo.kl": "off",
        "dataset.name": "a: b \U0001f600 #2",
        "seed": 3,
        "sft.lora_target_modules": ["q", "v"],
        "ppo.kl_coef": 0.1,
    }
    recipe = load_recipe({"stages": ["sft", "negatives", "reward", "ppo"]}, as_texts(values))
    assert recipe.dataset.name == "a: b \U0001f600 #2"
    assert recipe.find("ppo").kl == "off"
    assert recipe.find("sft").lora_target_modules == ["q", "v"]
    assert default_folder("x/pairs.jsonl") == default_folder("pairs") == Path("runs/pairs")
