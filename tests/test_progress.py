"""Progress: what is said where, how often, and that phases follow each other and nest."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from homestretch.progress import progress, say


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_plain_lines_come_every_ten_seconds_and_at_the_end(clock: Clock) -> None:
    out = io.StringIO()
    with progress(8, "sft", "round", out=out) as bar:
        for _ in range(8):
            clock.passes(4)
            bar.advance(1, tokens=400, loss=2.34567)
    assert out.getvalue().splitlines() == [
        "sft: 3 of 8 rounds, 100 tokens/s, loss 2.346, 20 s left",
        "sft: 6 of 8 rounds, 100 tokens/s, loss 2.346, 8.0 s left",
        "sft: 8 of 8 rounds, 100 tokens/s, loss 2.346, in 32 s",
    ]


def test_a_short_step_says_one_line_and_needs_no_total(clock: Clock) -> None:
    out = io.StringIO()
    with progress(None, "evaluate", "metric", out=out) as bar:
        clock.passes(2)
        bar.advance(1, now="rougeL")
        bar.advance(2, now="bleu")
    assert out.getvalue() == "evaluate: 3 metrics, 1.5 metrics/s, now bleu, in 2.0 s\n"


def test_what_was_done_before_does_not_count_for_the_pace(clock: Clock) -> None:
    out = io.StringIO()
    with progress(100, "sft", "round", done=90, out=out) as bar:
        clock.passes(10)
        bar.advance(5)
        assert bar.seconds_left() == pytest.approx(10)
        clock.passes(10)
        bar.advance(5)
    assert out.getvalue().splitlines()[0] == "sft: 95 of 100 rounds, 0.50 rounds/s, 10 s left"


def test_long_times_are_readable(clock: Clock) -> None:
    out = io.StringIO()
    with progress(100, "ppo", "round", out=out) as bar:
        clock.passes(95)
        bar.advance()
    assert "0.01 rounds/s, 2 h 36 min left" in out.getvalue()


def test_a_step_that_breaks_off_says_so(clock: Clock) -> None:
    out = io.StringIO()
    # The KeyError is what breaks the step off.
    with contextlib.suppress(KeyError), progress(3, "sft", "round", out=out) as bar:
        clock.passes(1)
        bar.advance()
        raise KeyError
    assert out.getvalue() == "sft: stopped at 1 of 3 rounds, 1.0 rounds/s, 2.0 s left\n"


def test_phases_nest_and_follow_each_other(clock: Clock) -> None:
    out = io.StringIO()
    with progress(2, "outer", "step", out=out) as outer:
        for _ in range(2):
            with progress(1, "inner", "row", out=out) as inner:
                clock.passes(1)
                inner.advance()
            outer.advance()
    with progress(1, "next", "step", out=out) as bar:
        bar.advance()
    labels = [line.split(":")[0] for line in out.getvalue().splitlines()]
    assert labels == ["inner", "inner", "outer", "next"]


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    out = io.StringIO()
    with progress(1, "sft", "round", out=out) as bar:
        bar.advance()
    assert out.getvalue() == ""
    assert bar.done == 1


ON_A_TERMINAL = """
import sys, time
from homestretch.progress import progress
with progress(20, "outer", "round", done=5) as bar:
    for i in range(15):
        time.sleep(0.02)
        bar.advance(tokens=40, loss=2.5)
        if i == 7:
            with progress(None, "inner", "row") as inner:
                inner.advance(3)
                time.sleep(0.3)
with progress(2, "after", "step") as bar:
    bar.advance(2)
assert not {"torch", "numpy"} & set(sys.modules)
"""


def test_a_terminal_gets_bars_with_throughput_and_time() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, stdout=theirs, env=environment)
    os.close(theirs)
    raw = _everything(ours)
    assert raw.count("\x1b[?25h") == 2  # the cursor comes back after each of the two steps that follow each other
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw)
    assert process.wait(timeout=30) == 0
    assert "3 rows" in text
    last = [line for line in text.splitlines() if line.strip()]
    assert last[-1].startswith("after")
    assert re.search(r"outer .*20 of 20 rounds .*tokens/s, loss 2.5, in \d", text)
    assert re.search(r"outer .*1\d of 20 rounds .*s left", text)


def _everything(terminal: int) -> str:
    parts = []
    while select.select([terminal], [], [], 30)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode("utf-8", "replace")


def test_a_sentence_is_a_line_of_its_own_and_one_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    say("Memory ran out [half].", out=out)
    monkeypatch.setenv("RANK", "1")
    say("Memory ran out here too.", out=out)
    assert out.getvalue() == "Memory ran out [half].\n"


def test_a_sentence_stays_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    out, elsewhere = Terminal(), io.StringIO()
    with progress(2, "sft", "round", out=out) as bar:
        bar.advance(1)
        say("Lower the learning rate, [or] wait.", out=elsewhere)
    assert "\x1b[2KLower the learning rate, [or] wait.\n" in out.getvalue()
    assert elsewhere.getvalue() == ""
