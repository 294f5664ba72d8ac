"""The crash campaign would notice: bytes that differ, tracebacks, lost rows, processes that end as they should not."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import crash
import pytest
from crash_arguments import THERE, commands
from crash_bench import Wrong
from crash_bench import sentence as ending
from crash_cases import Tally, check_line, check_rows, count, explore, really_called, sentence
from crash_compare import contents, differences
from crash_damage import damage
from crash_kills import TRIES, Kills, planned, where
from crash_processes import Started, fresh, server
from crash_recipes import END, START, Course
from crash_strategies import Table
from hypothesis import strategies as st

from homestretch.config.stages import STAGES
from homestretch.data.sources import load
from homestretch.results import RunFolder, StageRecord
from homestretch.writing import write_text

PAIR = b'{"prompt": "a b", "completion": "c"}'


def run_of(folder: Path, *, seconds: float = 1.0, loss: float = 0.5) -> Path:
    """A run folder with files of every kind."""
    run = RunFolder(folder)
    stage = run.stage(1, "sft")
    StageRecord(name="sft", status="done", inputs={"hash": "1"}, seconds=seconds, peak_memory_bytes=int(seconds)).write(
        stage.record
    )
    write_text(stage.metrics, json.dumps({"step": 1, "seconds": seconds, "loss": loss}) + "\n")
    write_text(
        stage.checkpoints / "checkpoint-1" / "state.json",
        json.dumps({"sha256": str(seconds), "state": {"round": 1, "seconds": seconds}}),
    )
    write_text(run.results, json.dumps({"arms": {"a": 1}, "timings": {"sft": seconds}}))
    cell = f'<td><span class="status done">done</span></td><td class="num">{seconds} s</td></tr>'
    write_text(run.report, f"<p>page</p>\n<tr>{cell}\n")
    (stage.model).mkdir()
    (stage.model / "model.safetensors").write_bytes(b"weights")
    return folder


def test_times_are_no_difference(tmp_path: Path) -> None:
    one, other = run_of(tmp_path / "a"), run_of(tmp_path / "b", seconds=2.5)
    (other / ".lock").write_text("process 1 on here")
    assert differences(one, other) == []
    assert len(contents(one)) == 6


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("stages/01-sft/model/model.safetensors", lambda file: file.write_bytes(b"weight5")),
        ("stages/01-sft/metrics.jsonl", lambda file: file.write_text(file.read_text().replace("0.5", "0.6"))),
        ("stages/01-sft/stage.json", lambda file: file.write_text(file.read_text().replace('"done"', '"failed"'))),
        ("stages/01-sft/checkpoints/checkpoint-1/state.json", lambda file: file.write_text('{"state": {"round": 2}}')),
        ("evaluation/results.json", lambda file: file.write_text('{"arms": {"a": 2}}')),
        ("report.html", lambda file: file.write_text(file.read_text().replace("page", "pages"))),
        ("report.html", lambda file: file.unlink()),
        ("model/.model.safetensors.1.part", lambda file: write_text(file, "left behind")),
    ],
)
def test_everything_else_is_one(tmp_path: Path, name: str, change: Any) -> None:
    one, other = run_of(tmp_path / "a"), run_of(tmp_path / "b")
    change(other / name)
    assert differences(one, other) == [name]


def test_points_are_seeded_and_every_place_has_its_turn() -> None:
    made = [Course("a", Path("a"), ("01-sft", "02-evaluate")), Course("b", Path("b"), ("01-dpo",))]
    runs = planned(made, 16, random.Random(3))
    assert runs == planned(made, 16, random.Random(3)) != planned(made, 16, random.Random(4))
    points = [(course.name, point.place) for course, points in runs for point in points]
    assert len(points) == 16
    assert {points.count((course.name, place)) for course in made for place in course.places} <= {2, 3}
    assert made[0].places == (START, "01-sft", "02-evaluate", END)
    for course, its_points in runs:
        places = [point.place for point in its_points]
        assert places == [place for place in course.places if place in places], "in the order of the run"
    assert planned(made, 0, random.Random(3)) == [] and TRIES > 1


def test_where_a_process_was_is_read_from_what_it_wrote(tmp_path: Path) -> None:
    course, run = Course("a", Path("a"), ("01-sft", "02-evaluate")), RunFolder(tmp_path)
    assert where(course, tmp_path, 0) == START
    StageRecord(name="sft", status="running").write(run.stage(1, "sft").record)
    assert where(course, tmp_path, 0) == "sft"
    assert where(course, tmp_path, time.time_ns() + 10**9) == START, "an earlier process wrote that"
    StageRecord(name="sft", status="done").write(run.stage(1, "sft").record)
    assert where(course, tmp_path, 0) == "between stages"
    StageRecord(name="evaluate", status="done").write(run.stage(2, "evaluate").record)
    assert where(course, tmp_path, 0) == END


def test_counts_add_up_and_a_failure_fails() -> None:
    total = Kills()
    for place in ("sft", "sft", "ppo"):
        part = Kills(runs=1, equal=1)
        part.places[place] += 1
        total.add(part)
    total.add(Kills(runs=1, failures=["a differs"]))
    assert (total.places.total(), total.runs, total.equal, total.failures) == (3, 4, 3, ["a differs"])
    counts: dict[str, Any] = {"kills": {"points": 3, "fresh": 0, "places": dict(total.places), "runs": 4, "equal": 3}}
    counts["kills"]["wrong"] = total.failures
    assert crash.table(counts).splitlines()[-2:] == [
        "  3 of 4 runs ended with the bytes of an undisturbed one",
        "WRONG, kills: a differs",
    ]


@pytest.mark.parametrize(
    ("code", "said", "wrong"),
    [
        (1, "homestretch: this is a bug.\n", "exit code 1"),
        (-11, "", "exit code -11"),
        (2, "Traceback (most recent call last):\nhomestretch: a.\n", "Traceback"),
        (2, "", "0 sentences"),
        (2, "homestretch: a.\nhomestretch: b.\n", "2 sentences"),
        (2, "homestretch: a.\nand more\n", "more behind"),
        (2, "homestretch: no end\n", "no sentence"),
        (0, "homestretch: a.\n", "it is done, and says"),
    ],
)
def test_what_is_no_ending(code: int, said: str, wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        sentence(code, said)


def test_an_ending() -> None:
    assert sentence(2, "sft: 3 rounds\nhomestretch: f:1: no such key; did you mean `a`?\n").startswith("f:1: no such")
    assert sentence(0, "sft: 3 rounds\n") == ""


def test_a_row_that_is_lost_is_noticed(tmp_path: Path) -> None:
    file, entry = tmp_path / "rows.jsonl", json.dumps({"line": 2, "reason": "empty", "row": {}})
    file.write_bytes(PAIR)
    kept, tally = load(file), Tally(9)
    count(Table(".jsonl", b"", 2), kept, [entry], tally)
    assert (tally.rows, tally.kept, tally.rejected) == (2, 1, 1)
    for rows, entries in ((3, [entry]), (1, [entry]), (2, [])):
        with pytest.raises(AssertionError, match=f"{rows} rows, 1 kept"):
            count(Table(".jsonl", b"", rows), kept, entries, tally)
    with pytest.raises(AssertionError):
        count(Table(".jsonl", b"", 1), kept, None, tally)


def test_a_case_that_goes_wrong_is_described() -> None:
    def check(number: int, tally: Tally) -> None:
        tally.cases += 1
        assert number < 100, "too large"

    tally = explore(check, 200, 0, st.integers(0, 1000))
    assert tally.failure is not None and "too large" in tally.failure and "check" in tally.failure
    assert explore(check, 50, 0, st.integers(0, 99)).failure is None


def test_cases_of_rows_and_lines_are_counted() -> None:
    tally = Tally(1000, real=20)
    check_rows(Table(".jsonl", PAIR + b"\n{\n\n" + PAIR, 3), ["negatives", "audit"], tally)
    check_line(["recipes", "check", "bad.yaml"], tally)
    check_line(["recipes", "ls"], tally)
    assert (tally.cases, tally.done, tally.refused, tally.rows, tally.kept, tally.rejected) == (3, 1, 2, 3, 2, 1)


def test_every_command_is_among_the_lines() -> None:
    words = {" ".join(path) for path in commands()}
    assert {"run", "train", "lab teacher-hacking", "reward filter", "recipes check"} <= words
    assert len(words) >= 20 and {"good.jsonl", "model", "absent"} <= set(THERE)


def test_processes_are_killed_and_end(tmp_path: Path) -> None:
    process = fresh(["recipes", "cat", "no-such-recipe"], tmp_path)
    assert ending(process).startswith("no-such-recipe: there is no such file")
    assert really_called(["recipes", "ls"], tmp_path)[0] == 0
    with pytest.raises(Wrong, match="it ended with 0 instead of 2"):
        ending(fresh(["recipes", "ls"], tmp_path))


def test_a_process_that_hangs_is_killed(tmp_path: Path) -> None:
    codes = iter([None, -signal.SIGKILL])
    asked: list[float] = []
    process = Started(2**22 + 1, tmp_path / "log", lambda seconds: asked.append(seconds) or next(codes))
    assert process.end() == -signal.SIGKILL and len(asked) == 2


@pytest.mark.parametrize("how", ["bits", "cut", "empty", "start"])
def test_damage_changes_a_file_and_the_same_seed_changes_it_alike(tmp_path: Path, how: str) -> None:
    before = bytes(range(200))
    for name in "ab":
        (tmp_path / name).write_bytes(before)
        damage(tmp_path / name, how, 5)
    after = (tmp_path / "a").read_bytes()
    assert after == (tmp_path / "b").read_bytes() != before
    assert len(after) == {"cut": 100, "empty": 0}.get(how, 200)


@pytest.mark.slow
def test_the_campaign_s_recipes_run_every_stage_and_a_forked_process_is_a_process(tmp_path: Path) -> None:
    from crash_kills import undisturbed
    from crash_recipes import courses

    made = courses(tmp_path)
    assert {stage.split("-", 1)[1] for course in made for stage in course.stages} == set(STAGES)
    mixtures = next(course for course in made if course.name == "mixtures")
    with server() as launch:
        killed = launch(mixtures.command, tmp_path / "killed")
        killed.kill()
        assert killed.end() == -signal.SIGKILL
        seconds, found = undisturbed(mixtures, tmp_path, launch)
        assert (found.runs, found.equal, found.failures) == (1, 1, [])
        assert set(seconds) == set(mixtures.places) and seconds[START] > 0
        shutil.copytree(tmp_path / "reference-mixtures", tmp_path / "other")
        (tmp_path / "other" / "run" / "model" / "model.safetensors").write_bytes(b"other weights")
        assert differences(tmp_path / "other" / "run", tmp_path / "reference-mixtures" / "run") == [
            "model/model.safetensors"
        ]
