"""Generated rows, recipes and command lines: each is done (0) or refused (2), without a traceback and in one sentence.

With on_bad_row=skip no row is lost: those that are read are those that are kept and those in `rejected.jsonl`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import typer
from crash_arguments import command_lines, workplace
from crash_strategies import Table, overrides, recipes, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homestretch.cli.main import main
from homestretch.data.sources import Splits, load
from homestretch.errors import HomestretchError

WHO = "homestretch: "
DONE, REFUSED = 0, 2
REAL = 20
"""Cases of each family that are also given to a process of its own, at most."""
Prepare = Callable[[Path], Any]


@dataclass
class Tally:
    """What became of a family of cases."""

    wanted: int
    cases: int = 0
    done: int = 0
    refused: int = 0
    real: int = 0
    rows: int = 0
    kept: int = 0
    rejected: int = 0
    failure: str | None = None

    @property
    def next_is_real(self) -> bool:
        """Whether it is the turn of a process of its own."""
        return self.real < REAL and self.cases * REAL >= self.real * self.wanted


def called(line: list[str], folder: Path) -> tuple[int, str]:
    """Exit code of a command line in this process, and what it says on stderr."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    code: Any = None
    handler = signal.getsignal(signal.SIGTERM)
    redirected = contextlib.redirect_stdout(out), contextlib.redirect_stderr(said)
    with warnings.catch_warnings(), contextlib.chdir(folder), redirected[0], redirected[1]:
        try:
            main(line)
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, handler)
    return code, said.buffer.getvalue().decode()


def really_called(line: list[str], folder: Path) -> tuple[int, str]:
    """The same of a process."""
    command = [sys.executable, "-m", "homestretch", *line]
    done = subprocess.run(command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stderr.decode("utf-8", "replace")


def sentence(code: int, said: str) -> str:
    """The sentence of a refusal, nothing where the command was done. AssertionError for anything else."""
    assert "Traceback" not in said, said[-2000:]
    assert code in (DONE, REFUSED), f"exit code {code}: {said[-500:]}"
    found = [line for line in said.splitlines() if line.startswith(WHO)]
    if code == DONE:
        assert not found, f"it is done, and says {found}"
        return ""
    if "Usage: " in said:
        return said
    assert len(found) == 1, f"{len(found)} sentences: {said[-500:]}"
    assert said.endswith(found[0] + "\n"), f"more behind the sentence: {said[-500:]}"
    assert found[0][-1] in ".?", f"no sentence: {found[0]}"
    return found[0].removeprefix(WHO)


def judged(line: list[str], prepare: Prepare, tally: Tally) -> tuple[int, str]:
    """Exit code and sentence of a command line in a folder of its own, now and then in a process of its own too."""
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        code, said = called(line, Path(name))
    found = sentence(code, said)
    if tally.next_is_real:
        tally.real += 1
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name))
            there, heard = really_called(line, Path(name))
        assert (there, sentence(there, heard)) == (code, found), f"{line}: a process of its own ends in another way"
    tally.cases += 1
    tally.done += code == DONE
    tally.refused += code == REFUSED
    return code, found


def file_of(table: Table, folder: Path) -> Path:
    """The table as a file."""
    path = folder / f"rows{table.ending}"
    path.write_bytes(table.data)
    return path


def check_rows(table: Table, line: list[str], tally: Tally) -> None:
    """The readers themselves lose no row; a command that reads the file ends well."""
    with tempfile.TemporaryDirectory() as name:
        path, rejected = file_of(table, Path(name)), Path(name) / "rejected.jsonl"
        kept = loaded(path, on_bad_row="skip", rejected=rejected)
        lines = rejected.read_text(encoding="utf-8").split("\n")[:-1] if rejected.exists() else None
        count(table, kept, lines, tally)
        strict = loaded(path)
        if strict is not None:
            assert kept is not None
            assert not lines
            assert [e.where for e in strict.train] == [e.where for e in kept.train]
    judged([*line, f"rows{table.ending}"], lambda folder: file_of(table, folder), tally)


def loaded(path: Path, **how: Any) -> Splits | None:
    """What the readers make of a file; None where they refuse it, and say at which place."""
    try:
        return load(path, **how)
    except HomestretchError as error:
        said = str(error)
    assert re.match(rf"{re.escape(str(path))}(:\d+)?: ", said), f"no place: {said}"
    return None


def count(table: Table, kept: Splits | None, lines: list[str] | None, tally: Tally) -> None:
    """Rows in = rows kept + rows rejected, each of which is JSON with a line and a reason."""
    entries = [json.loads(line) for line in lines or []]
    assert all(entry["line"] >= 1 and entry["reason"] and "row" in entry for entry in entries)
    if lines is None:  # refused as a whole, before any row was left out
        assert kept is None
        return
    good = sum(len(split) for split in (kept.train, kept.validation, kept.test)) if kept is not None else 0
    read = table.rows if table.rows is not None else good + len(entries)
    assert good + len(entries) == read, f"{read} rows, {good} kept, {len(entries)} rejected"
    tally.rows += read
    tally.kept += good
    tally.rejected += len(entries)


READERS = st.sampled_from(
    [
        ["negatives", "make", "--out", "o.jsonl", "--on-bad-row", "skip"],
        ["negatives", "make", "--out", "o.jsonl", "--all"],
        ["negatives", "audit"],
        ["audit"],
        ["evaluate", "--out", "o.json"],
    ]
)


def check_recipe(data: bytes, settings: list[str], tally: Tally) -> None:
    """A recipe is fine, or its file or the override is named; one that is fine is fine when it is resolved."""

    def prepare(folder: Path, content: bytes = data) -> None:
        (folder / "r.yaml").write_bytes(content)

    code, said = judged(["recipes", "check", "r.yaml", *settings], prepare, tally)
    if code == REFUSED:
        assert said.startswith(("r.yaml", "override `")), f"no place: {said}"
        return
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        out = io.StringIO()
        # `main` ends in an exit, whatever it found.
        with contextlib.chdir(name), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main(["recipes", "check", "r.yaml", *settings, "--resolved"])
        prepare(Path(name), out.getvalue().encode())
        assert called(["recipes", "check", "r.yaml"], Path(name)) == (DONE, ""), "the resolved recipe is none"


def check_line(line: list[str], tally: Tally) -> None:
    """A command line of any kind ends well."""
    judged(line, workplace, tally)


def explore(check: Callable[..., None], wanted: int, seed: int, *drawn: st.SearchStrategy[Any]) -> Tally:
    """So many cases of a family; the first that goes wrong is made small and described."""
    tally = Tally(wanted)

    @hypothesis.seed(seed)
    # Cases are many and slow on purpose: how hypothesis would like them is no matter here.
    @settings(max_examples=wanted, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(*drawn))
    def one(case: tuple[Any, ...]) -> None:
        check(*case, tally)

    try:
        one()
    except Exception as error:  # noqa: BLE001 - whatever a case brought about is what is looked for
        parts = error.exceptions if isinstance(error, ExceptionGroup) else [error]
        tally.failure = "\n".join("".join(traceback.format_exception(part, limit=-3)) for part in parts)
    return tally


def campaign(cases: int, seed: int, tell: Callable[[str], None]) -> dict[str, Tally]:
    """So many cases, a third of each family."""
    typer.main.get_command = functools.cache(typer.main.get_command)  # what takes nine tenths of a call is the same
    each = max(cases // 3, 1)
    families: dict[str, tuple[Any, ...]] = {
        "rows": (check_rows, tables(), READERS),
        "recipes": (check_recipe, recipes(), st.just([]) | st.just([]) | st.lists(overrides, max_size=2)),
        "arguments": (check_line, command_lines()),
    }
    found = {}
    for name, (check, *drawn) in families.items():
        wanted = cases - 2 * each if name == "rows" else each
        found[name] = explore(check, wanted, seed, *drawn)
        tell(f"{name}: {found[name].cases} cases, {found[name].failure or 'none went wrong'}")
    return found
