"""The run folder's files: what is written can be read, and what cannot be used is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from homestretch.errors import InputError
from homestretch.results import (
    Arm,
    Comparison,
    Environment,
    Measured,
    Results,
    RewardMode,
    RunFolder,
    StageFolder,
    StageRecord,
)
from homestretch.writing import check_writable, write_rows, write_text

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
names = st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable())
measured = st.builds(
    Measured, value=finite, low=finite, high=finite, n=st.integers(0, 10**6), higher_is_better=st.booleans()
)


@given(arms=st.dictionaries(names, st.builds(Arm, metrics=st.dictionaries(names, measured, max_size=3)), max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, arms: dict[str, Arm]) -> None:
    path = tmp_path_factory.getbasetemp() / "results.json"
    written = Results(arms=arms, reward_model={"copy": RewardMode(n=3, accuracy=1.0, auroc=None, held_out=True)})
    written.write(path)
    assert Results.read(path) == written
    assert json.loads(path.read_text("utf-8"))["schema_version"] == 1


def test_every_record_says_its_version(tmp_path: Path) -> None:
    for record in (StageRecord(name="sft"), Environment(), Results()):
        record.write(tmp_path / "r.json")
        assert json.loads((tmp_path / "r.json").read_text())["schema_version"] == 1
        assert type(record).read(tmp_path / "r.json") == record


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"schema_version": 2}', "install a newer homestretch"),
        ('{"arms": {}}', "schema version None where 1 is expected"),
        ('{"schema_version": "1"}', "schema version '1' where 1 is expected"),
        ('{"schema_version": 1, "arms": {"ml_raw": {}}}', "`arms.ml_raw.metrics`"),
        ('{"schema_version": 1, "armz": {}}', "`armz`"),
        ('{"schema_version": 1,\n "arms": }', ":2: this is not JSON"),
        ("[1]", "must hold an object"),
        (
            '{"schema_version": 1, "arms": {"a": {"metrics": {"m": {"value": NaN, "low": 0, "high": 0, "n": 1}}}}}',
            "value",
        ),
    ],
)
def test_unusable_files_get_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Results.read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and says in message
    assert "\n" not in message and message.endswith(".") and ";" in message


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no stage\.json here"):
        StageRecord.read(tmp_path / "stage.json")


def test_what_is_not_finite_is_not_recorded() -> None:
    with pytest.raises(ValidationError):
        Measured(value=float("nan"), low=0, high=0, n=1)
    with pytest.raises(ValidationError):
        Comparison(a="a", b="b", metric="m", difference=0, low=0, high=0, p_value=1.2, n=1)


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "stage.json"
    StageRecord(name="sft", status="running").write(path)
    assert [p.name for p in path.parent.iterdir()] == ["stage.json"]

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot be written \\(No space left on device\\)"):
        StageRecord(name="sft", status="done").write(path)
    assert StageRecord.read(path).status == "running"
    assert [p.name for p in path.parent.iterdir()] == ["stage.json"]


def test_unwritable_place_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "file" / "below.json", "{}")


def test_paths_of_a_run_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert not run.is_run() and run.stage_folders() == []
    assert run.generations == tmp_path / "evaluation" / "generations.jsonl"
    for number, name in ((10, "report"), (2, "negatives"), (1, "sft")):
        StageRecord(name=name).write(run.stage(number, name).record)
    assert [s.path.name for s in run.stage_folders()] == ["01-sft", "02-negatives", "10-report"]
    assert run.is_run()


def test_results_do_not_need_torch() -> None:
    code = "import sys, homestretch.results, homestretch.report.page; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_place_is_tried_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "rows.jsonl")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "rows.jsonl"):
        with pytest.raises(InputError, match="cannot be written"):
            check_writable(place)


def test_rows_are_lines_of_json(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"a": "é\n"}, {"b": 1}])
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == '{"a": "é\\n"}\n{"b": 1}\n'


def test_a_stage_is_called_as_in_its_recipe(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).stage(3, "grpo-2").name == "grpo-2"
    assert [StageFolder(tmp_path / name).name for name in ("12-ppo", "toy", "a-b", "3-")] == ["ppo", "toy", "a-b", "3-"]
