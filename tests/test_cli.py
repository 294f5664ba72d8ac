"""The command line as a user meets it: real processes, exit codes, one sentence for what went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from homestretch.cli.main import app, run_command
from homestretch.config.recipe import load_recipe
from homestretch.errors import CheckpointError, InputError, TrainingDiverged

COMMANDS = [
    [], ["quickstart"], ["run"], ["train"], ["negatives"], ["negatives", "make"], ["negatives", "audit"], ["reward"],
    ["reward", "fit"], ["reward", "score"], ["generate"], ["evaluate"], ["audit"], ["report"], ["recipes"],
    ["recipes", "ls"], ["recipes", "cat"], ["recipes", "cp"], ["recipes", "check"], ["doctor"], ["lab"],
    ["lab", "teacher-hacking"],
]  # fmt: skip
METHODS = {"alol", "best_of", "distill", "dpo", "gold", "grpo", "ift", "modpo", "ppo", "rloo", "wbc"}
HEAVY = {"torch", "transformers", "numpy", "yaml", "scipy", "matplotlib", "datasets"}
PAIR = '{"prompt": "a b", "completion": "c"}\n'


def homestretch(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "homestretch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def refused(*arguments: str | Path, **options: object) -> str:
    done = homestretch(*arguments, **options)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("homestretch: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_every_help_page_is_short_and_needs_nothing_heavy() -> None:
    code = (
        "import json, sys; from homestretch.cli.main import run_command\n"
        "codes = [run_command([*c, '--help']) for c in json.loads(sys.argv[1])]\n"
        f"print(json.dumps([codes, sorted({HEAVY} & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(COMMANDS)], capture_output=True, text=True, check=True
    )
    codes, heavy = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0] * len(COMMANDS)
    assert heavy == []
    pages = done.stdout.split("Usage: ")[1:]
    assert len(pages) == len(COMMANDS)
    assert all(len(page.splitlines()) <= 45 for page in pages)


def test_help_starts_fast() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert homestretch("--help").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0  # the target is 0.5 s; a busy machine gets some slack


def test_without_arguments_and_with_version() -> None:
    assert homestretch().stdout == homestretch("--help").stdout
    assert homestretch("--version").stdout.startswith("0.")
    group = homestretch("recipes")
    assert group.returncode == 2
    assert "Usage: homestretch recipes" in group.stderr + group.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "'train'"),
        (["train", "--nope"], "--nope; see `homestretch train --help`"),
        (["generate", "model"], "'DATA'"),
        (["run", "x.jsonl", "--on-bad-row", "maybe"], "'error', 'skip'"),
        (["train", "nope"], "no recipe of that name"),
        (["train", "quikstart"], "did you mean `quickstart`?"),
        (["train", "absent.yaml"], "absent.yaml: there is no such file"),
        (["recipes", "check", "text", "ppo.kl_cof=1"], "did you mean `kl_coef`?"),
        (["quickstart", "sed=1"], "did you mean `seed`?"),
        (["recipes", "check", "text", "ppo.cliprange=0"], "`cliprange` = 0 cannot be used"),
        (["recipes", "cp", "text", "/proc/recipe.yaml"], "/proc/recipe.yaml: cannot be written"),
        (["generate", "model", "data.jsonl", "--out", "."], ".: cannot be written (Is a directory)"),
        (["report", "absent"], "absent: there is no such folder"),
        (["evaluate", "absent.jsonl"], "absent.jsonl: cannot be read"),
    ],
)
def test_bad_arguments(arguments: list[str], says: str, tmp_path: Path) -> None:
    assert says in refused(*arguments, cwd=tmp_path)


def test_a_mistake_in_a_recipe_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("stages:\n  - sft\n  - negatives:\n      sed: 3\n", encoding="utf-8")
    assert refused("recipes", "check", path) == f"homestretch: {path}:4: unknown key `sed`; did you mean `seed`?\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.jsonl", None, "check"),
        ("empty.jsonl", "", "no rows"),
        ("broken.jsonl", PAIR + "{'prompt'\n", "broken.jsonl:2: "),
        ("column.jsonl", PAIR + '{"promt": "a", "completion": "b"}\n', "column.jsonl:2: "),
        ("prompt.jsonl", PAIR + '{"prompt": " ", "completion": "b"}\n', "prompt.jsonl:2: "),
        ("completion.jsonl", PAIR + '{"prompt": "x", "completion": ""}\n', "completion.jsonl:2: "),
        ("kind.docx", "x", "kind.docx"),
    ],
)
def test_bad_data(name: str, content: str | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert says in refused("negatives", "make", path, "--out", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_a_folder_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("keep me", encoding="utf-8")
    assert f"{tmp_path} is not empty" in refused("quickstart", "--fast", "--out", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_a_device_and_a_model_that_are_not_there(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}  # no request leaves this test
    assert "device=cpu" in refused("doctor", "text", "device=cuda", env=environment)
    assert "absent" in refused("doctor", "text", f"model_name_or_path={tmp_path}/absent", env=environment)


def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "homestretch", "recipes", "ls"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("homestretch: ")
    assert "the disk is full" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "homestretch", "recipes", "cat", "text"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C, and once more if the first came while Python was inside a callback, where it is lost."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=30)


def test_an_interruption_says_how_to_go_on(tmp_path: Path) -> None:
    pipe = tmp_path / "never.jsonl"
    os.mkfifo(pipe)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "homestretch", "audit", pipe],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A shell starts what runs behind it with Ctrl-C ignored, and the tests may be such.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process,
        pipe.open("w"),
    ):  # opens when the command has begun to read
        _, said = interrupted(process)
    assert process.returncode == 130
    assert said == "homestretch: interrupted; start the same command again to go on from the last checkpoint.\n"


def test_a_request_to_end_says_how_to_go_on(tmp_path: Path) -> None:
    pipe = tmp_path / "never.jsonl"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "homestretch", "audit", pipe]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, pipe.open("w"):
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said == "homestretch: asked to end; start the same command again to go on from the last checkpoint.\n"


def test_what_stdout_cannot_say_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"arm": "é", "prediction": "a."}\n')
    done = homestretch("audit", "rows.jsonl", cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "") and "\\xe9 (1 prompt)" in done.stdout


@pytest.fixture
def probe() -> Iterator[Callable[[Exception], int]]:
    """The exit code of a command that raises an error."""
    commands = list(app.registered_commands)

    def exit_code(error: Exception) -> int:
        @app.command("probe")
        def raises() -> None:
            raise error

        return run_command(["probe"])

    yield exit_code
    app.registered_commands[:] = commands


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("a: wrong."), 2, "homestretch: a: wrong.\n"),
        (CheckpointError("a: not\nwhole."), 2, "homestretch: a: not whole.\n"),
        (TrainingDiverged("three times."), 1, "homestretch: three times.\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "homestretch: /x: permission denied"),
        (OSError(28, "No space left on device", "/x"), 2, "homestretch: /x: the disk is full"),
        (RuntimeError("write failed: No space left on device"), 2, "the disk is full"),
        (
            OSError(27, "File too large", "/x"),
            2,
            "homestretch: /x: larger than this disk or `ulimit -f` lets a file be",
        ),
        (OSError(36, "File name too long", "/x"), 2, "homestretch: /x: this cannot be the path of a file (File name"),
        (typer.Exit(5), 5, ""),
        (typer.Abort(), 130, "homestretch: interrupted"),
        (ZeroDivisionError("by zero"), 1, "Traceback"),
        (BrokenPipeError(32, "Broken pipe"), 1, "Traceback"),  # not of stdout, which is read here
    ],
)
def test_exit_codes(
    error: Exception, code: int, says: str, probe: Callable[[Exception], int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert probe(error) == code
    said = capfd.readouterr().err
    assert says in said
    assert ("Traceback" in said) == isinstance(error, ZeroDivisionError | BrokenPipeError)


def test_recipes_can_be_listed_shown_copied_and_checked(tmp_path: Path) -> None:
    listed = homestretch("recipes", "ls").stdout.splitlines()
    methods = [line for line in listed if not line.startswith(" ")]
    assert [line.partition(": ")[0] for line in methods] == [*sorted({*METHODS, "last_mile"}), "launch"]
    assert all(len(line.partition(": ")[2]) > 40 for line in methods), "when to take it"
    recipes = [line.split(maxsplit=1) for line in listed if line.startswith(" ")]
    assert len(recipes) == 44 and all(len(phrase) > 20 for _, phrase in recipes)
    name = recipes[0][0]
    copy = tmp_path / "mine.yaml"
    assert homestretch("recipes", "cp", name, copy).stdout == f"{copy}\n"
    assert homestretch("recipes", "cat", name).stdout == copy.read_text(encoding="utf-8")
    assert "exists already" in refused("recipes", "cp", name, copy)
    assert homestretch("recipes", "check", copy, "seed=3").stdout.startswith(f"{copy}: the settings are fine; ")
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(homestretch("recipes", "check", copy, "seed=3", "--resolved").stdout, encoding="utf-8")
    assert load_recipe(resolved) == load_recipe(copy, ["seed=3"])


def test_audit_of_outputs_that_exist(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Say it.", "prediction": "no no no no no no", "references": ["Yes."], "arm": "a"},
        {"prompt": "Say it.", "predictions": ["Yes.", ""], "reference": "Yes.", "terminated": False, "arm": "b"},
    ]
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = json.loads(homestretch("audit", path, "--json").stdout)
    assert {arm: rates["repetitive"]["value"] for arm, rates in found.items()} == {"a": 1.0, "b": 0.0}
    assert found["b"]["empty"]["value"] == 0.5
    assert found["b"]["no_end"]["n"] == 1
    assert "no_end" not in found["a"]
    table = homestretch("audit", path).stdout
    assert "a (1 prompt)" in table
    assert "repetitive" in table
    path.write_text('{"prompt": "x", "predction": "y"}\n', encoding="utf-8")
    assert f"{path}:1: there is no column `prediction`; did you mean `predction`?" in refused("audit", path)


def test_audit_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "outputs.csv"
    path.write_text('prompt,predictions,terminated\nSay it.,"[""one"", """"]",true\n', encoding="utf-8")
    found = json.loads(homestretch("audit", path, "--json").stdout)
    assert found["predictions"]["empty"]["value"] == 0.5
    assert found["predictions"]["no_end"]["value"] == 0.0
