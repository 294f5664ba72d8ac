"""Comparisons end to end on tiny models: what is shared, what is kept, what fails, and what is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny
from offline_runs import SMALL, data

from homestretch.cli.main import run_command
from homestretch.compared import Compared, ComparisonFolder
from homestretch.config.yaml import dump_text
from homestretch.errors import InputError
from homestretch.results import StageRecord
from homestretch.training import pipeline
from homestretch.training.context import same_model
from homestretch.training.loop import Progress
from homestretch.verbs.compare import compare

pytestmark = pytest.mark.slow

ROW = 6
SMALL_REWARD = {"max_steps": 2, "train_batch_size": 8, "lora_r": 4, "bf16": False}
SFT = {"sft": {**SMALL, "max_steps": 2}}
QUICK = ["evaluate.metrics=[la_rougeL, rougeL]", "dataset.max_test=4"]


def recipes(folder: Path, **stages: list[Any]) -> dict[str, dict[str, Any]]:
    """Recipes on one tiny model and data with rewards."""
    model = folder / "model"
    shared = {
        "model_name_or_path": str(model) if model.is_dir() else tiny.save(model, "llama"),
        "dataset": {"name": data(folder, reward=lambda row, i: (i % 4) / 4), "max_completion_length": 16},
    }
    return {name: {**shared, "stages": listed} for name, listed in stages.items()}


def plain(record: Compared) -> dict[str, Any]:
    """Everything that does not hang on the clock or on memory."""
    values = json.loads(record.model_copy(update={"advice": ""}).model_dump_json())
    for method in values["methods"].values():
        for name in ("own", "total"):
            if method[name]:
                del method[name]["seconds"], method[name]["peak_memory_bytes"]
        for point in (p for points in method["curves"].values() for p in points):
            del point["seconds"]
    return values


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kind of stage really ran."""
    counts: Counter[str] = Counter()

    def counted(kind: str, inner: Any) -> Any:
        def run(*arguments: Any) -> Progress | None:
            counts[kind] += 1
            return inner(*arguments)

        return run

    functions = {kind: counted(kind, inner) for kind, inner in pipeline.STAGE_FUNCTIONS.items()}
    monkeypatch.setattr(pipeline, "STAGE_FUNCTIONS", functions)
    return counts


def test_shared_stages_run_once_a_seed_and_the_budget_holds(tmp_path: Path, executed: Counter[str]) -> None:
    made = recipes(
        tmp_path,
        ppo=[
            SFT, "negatives", {"reward": SMALL_REWARD},
            {"ppo": {**SMALL, "rollout_batch_size": 8, "num_generations": 4, "train_batch_size": 4}},
        ],
        wbc=[SFT, "negatives", {"reward": SMALL_REWARD}, {"wbc": SMALL}],
        dpo=[SFT, {"negatives-2": {}}, {"dpo": SMALL}],
        ift=[{"ift": SMALL}],
    )  # fmt: skip
    out = tmp_path / "out"
    record = compare(made, out=out, seeds=[0, 1], budget="samples=20", overrides=QUICK)
    assert [m.status for m in record.methods.values()] == ["done"] * 5
    assert executed == Counter(sft=2, negatives=4, reward=2, ppo=2, wbc=2, dpo=2, ift=2, evaluate=10)
    samples = {name: method.own.samples for name, method in record.methods.items()}
    assert samples == {"ml": 2 * ROW, "ppo": 24, "wbc": 24, "dpo": 24, "ift": 24}, (
        "the batch that passes 20 is the last"
    )
    assert record.methods["wbc"].total.samples == 2 * ROW + 2 * 8 + 24
    assert {p.samples for p in record.methods["wbc"].curves[1]} == {0, 12, 24}
    assert {place.method for place in record.ranking} == {"ml", "ppo", "wbc", "dpo", "ift"}
    folder = ComparisonFolder(out)
    assert (
        folder.run("wbc", 0)
        .stage(1, "sft")
        .model.joinpath("model.safetensors")
        .samefile(folder.run("ml", 0).stage(1, "sft").model / "model.safetensors")
    )
    executed.clear()
    assert compare(made, out=out, seeds=[0, 1], budget="samples=20", overrides=QUICK) == record
    assert not executed, "what has finished is kept"
    extended = compare(made, out=out, seeds=[0], budget="samples=20", overrides=QUICK)
    assert list(extended.methods["ift"].by_seed) == [0] and not executed


def test_two_methods_may_be_the_same(tmp_path: Path) -> None:
    """A comparison of a method with itself shows how much differences mean."""
    made = recipes(tmp_path, one=[SFT], two=[SFT])
    record = compare(made, out=tmp_path / "out", seeds=[0], overrides=QUICK)
    assert {m.status for m in record.methods.values()} == {"done"}
    [same] = [c for c in record.comparisons if c.metric == "la_rougeL" and {c.a, c.b} == {"one", "two"}]
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_a_model_is_one_with_what_the_same_stage_made_elsewhere(tmp_path: Path) -> None:
    runs = [tmp_path / name / "stages" / "01-sft" for name in ("a", "b", "c")]
    for run, inputs in zip(runs, ("1", "1", "2"), strict=True):
        StageRecord(name="sft", status="done", inputs={"hash": inputs}).write(run / "stage.json")
    a, b, c = (str(run / "model") for run in runs)
    assert same_model(a, a) and same_model(a, b) and same_model("hub/name", "hub/name")
    assert not any(same_model(*pair) for pair in [(a, c), (None, a), (a, "hub/name"), ("hub/name", a)])


def test_outputs_of_a_prompt_are_averaged_over_seeds(tmp_path: Path) -> None:
    made = recipes(tmp_path, ift=[{"ift": SMALL}], sft=[SFT])
    record = compare(made, out=tmp_path / "out", seeds=[0, 1], overrides=QUICK[:1])
    for name, method in record.methods.items():
        assert record.arms[name].metrics["la_rougeL"].value == pytest.approx(sum(method.by_seed.values()) / 2)
        assert record.arms[name].metrics["la_rougeL"].n == 6
    assert len(record.comparisons) == len({c.metric for c in record.comparisons}), "two methods are one pair"


def test_a_method_that_fails_is_reported_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], executed: Counter[str]
) -> None:
    made = recipes(tmp_path, wbc=[SFT, {"wbc": SMALL}], ift=[{"ift": SMALL}], dpo=[SFT, {"dpo": SMALL}])
    functions = dict(pipeline.STAGE_FUNCTIONS)

    def bug(*_: Any) -> None:
        raise ZeroDivisionError("by <script>zero</script>")

    monkeypatch.setattr(pipeline, "STAGE_FUNCTIONS", functions | {"wbc": bug})
    out = tmp_path / "out"
    record = compare(made, out=out, seeds=[0, 1], overrides=QUICK)
    assert {n: m.status for n, m in record.methods.items()} == {
        "ml": "done", "wbc": "failed", "ift": "done", "dpo": "failed"
    }  # fmt: skip
    assert record.methods["wbc"].error == "ZeroDivisionError: by <script>zero</script>"
    assert "the data have no column `rejected`" in (record.methods["dpo"].error or "")
    assert [p.method for p in record.ranking] == sorted(
        ["ml", "ift"], key=lambda n: -record.arms[n].metrics["la_rougeL"].value
    )
    page = ComparisonFolder(out).report.read_text()
    assert "by &lt;script&gt;zero&lt;/script&gt;" in page and "<script" not in page
    assert "Traceback" in capsys.readouterr().err, "a bug is shown in full"
    assert not ComparisonFolder(out).run("wbc", 1).path.exists(), "a failed method is not tried with later seeds"
    monkeypatch.setattr(pipeline, "STAGE_FUNCTIONS", functions)
    executed.clear()
    again = compare(made, out=out, seeds=[0, 1], overrides=QUICK)
    assert again.methods["wbc"].status == "done" and executed == Counter(wbc=2, evaluate=2)


def test_killed_and_started_again_gives_the_same_comparison(tmp_path: Path) -> None:
    made = recipes(tmp_path, wbc=[SFT, {"wbc": SMALL}], gold=[SFT, {"gold": SMALL}])
    whole = compare(made, out=tmp_path / "whole", seeds=[0, 1], budget="tokens=400", overrides=QUICK)
    files = [tmp_path / f"{name}.yaml" for name in made]
    for file, recipe in zip(files, made.values(), strict=True):
        file.write_text(dump_text(recipe))
    program = (
        "import os, signal, sys\n"
        "from homestretch.cli.main import run_command\n"
        "from homestretch.training.validation import Validator\n"
        "inner = Validator.metrics\n"
        "def metrics(self, number):\n"
        "    if number and self.context.run.path.parent.name == 'gold':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return inner(self, number)\n"
        "Validator.metrics = metrics\n"
        "sys.exit(run_command(sys.argv[1:]))\n"
    )
    out = tmp_path / "killed"
    command = ["compare", *map(str, files), "--out", str(out), "--seeds", "0,1", "--budget", "tokens=400", *QUICK]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    folder = ComparisonFolder(out)
    assert Compared.read(folder.record).methods["gold"].status == "running"
    first = folder.run("wbc", 0).stage(2, "wbc").record
    before = first.stat().st_mtime_ns
    assert StageRecord.read(folder.run("gold", 0).stage(2, "gold").record).status == "running"
    assert run_command(command) == 0
    assert first.stat().st_mtime_ns == before, "a finished method is not run again"
    assert plain(Compared.read(folder.record)) == plain(whole)


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    made = recipes(tmp_path, ift=[{"ift": SMALL}], sft=[SFT])
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no comparison"):
        compare(made, out=other)
    compare(made, out=tmp_path / "out", seeds=[0], overrides=QUICK)
    with pytest.raises(InputError, match=r"out/ift/0 holds a run of another recipe"):
        compare(made, out=tmp_path / "out", seeds=[0], budget="tokens=100", overrides=QUICK)
    with pytest.raises(InputError, match="needs a seed at least"):
        compare(made, out=tmp_path / "out", seeds=[])


def test_the_command_says_what_it_found_and_fails_where_nothing_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipes(tmp_path, ift=[{"ift": SMALL}], sft=[SFT])
    files = [tmp_path / f"{name}.yaml" for name in made]
    for file, recipe in zip(files, made.values(), strict=True):
        file.write_text(dump_text(recipe))
    arguments = ["compare", *map(str, files), "--out", str(tmp_path / "out"), "--seeds", "0", *QUICK]
    assert run_command(arguments) == 0
    said = capsys.readouterr().out
    assert said.startswith("Use `") and "P(best)" in said and "comparison.html" in said
    capsys.readouterr()
    assert run_command([*arguments[:4], str(tmp_path / "no"), "--seeds", "x"]) == 2
    assert "write `--seeds 0,1,2`" in capsys.readouterr().err
    gone = [*arguments[:3], "--out", str(tmp_path / "gone"), "dataset.name=nowhere.jsonl"]
    assert run_command(gone) == 2
    assert "No method finished; `ift` failed: nowhere.jsonl" in capsys.readouterr().err
    assert Compared.read(tmp_path / "gone" / "comparison.json").methods["sft"].status == "failed"
