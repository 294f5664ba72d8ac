"""Progress of long steps: a bar with throughput and time left on a terminal, a line every ten seconds elsewhere.

    with progress(len(prompts), "generate", "prompt") as bar:
        for batch in batches:
            bar.advance(len(batch), tokens=new_tokens, loss=loss)

`say` puts a sentence between them. Everything goes to stderr, so that a command's output can be piped. Of several
processes only the first one speaks. Phases may follow each other or nest.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

SECONDS_BETWEEN_LINES = 10.0
COUNTED = frozenset({"tokens"})  # statistics that add up and are shown by the second


class Phase:
    """A step with a beginning and an end. `total` is None where nobody knows how much there is to do."""

    def __init__(self, total: int | None, label: str, unit: str, done: int) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = self.resumed = done
        self.started = time.monotonic()
        self.counts: dict[str, float] = {}
        self.last: dict[str, float | str] = {}

    def advance(self, n: int = 1, **stats: float | str) -> None:
        """`n` more units are done. Counts (`tokens`) are summed and shown by the second, other values as they are."""
        self.done += n
        for name, value in stats.items():
            if name in COUNTED:
                self.counts[name] = self.counts.get(name, 0.0) + float(value)
            else:
                self.last[name] = value
        self._show()

    def close(self, *, whole: bool) -> None:
        """Say the last word; `whole` is False where the step broke off."""

    def text(self) -> str:
        """Throughput, statistics, and time left or taken."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        fresh = self.done - self.resumed
        parts = [_rate(value, name, seconds) for name, value in self.counts.items()]
        if not parts and fresh:
            parts = [_rate(fresh, self.unit, seconds)]
        parts += [f"{name} {v:.4g}" if isinstance(v, float) else f"{name} {v}" for name, v in self.last.items()]
        left = self.seconds_left()
        parts.append(f"in {_time(seconds)}" if left is None else f"{_time(left)} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """At the pace of this phase so far; None where that cannot be said."""
        fresh = self.done - self.resumed
        if self.total is None or fresh <= 0 or self.done >= self.total:
            return None
        return (time.monotonic() - self.started) / fresh * (self.total - self.done)

    def position(self) -> str:
        """`40 of 200 prompts`."""
        of = f" of {self.total}" if self.total is not None else ""
        return f"{self.done}{of} {_plural(self.unit, self.total if self.total is not None else self.done)}"

    def _show(self) -> None:
        pass


class _Lines(Phase):
    """Plain lines, the first after ten seconds and one at the end."""

    def __init__(self, total: int | None, label: str, unit: str, done: int, out: IO[str], every: float) -> None:
        super().__init__(total, label, unit, done)
        self.out, self.every, self.said = out, every, self.started

    def _show(self) -> None:
        now = time.monotonic()
        if now - self.said >= self.every and self.done != self.total:
            self.said = now
            print(f"{self.label}: {self.position()}, {self.text()}", file=self.out, flush=True)

    def close(self, *, whole: bool) -> None:
        state = "" if whole else "stopped at "
        print(f"{self.label}: {state}{self.position()}, {self.text()}", file=self.out, flush=True)


class _Bar(Phase):
    """A line of the live display that all phases share."""

    live: Any = None
    open_bars = 0

    def __init__(self, total: int | None, label: str, unit: str, done: int, out: IO[str]) -> None:
        super().__init__(total, label, unit, done)
        if _Bar.live is None:
            _Bar.live = _display(out)
            _Bar.live.start()
        _Bar.open_bars += 1
        self.task = _Bar.live.add_task(label, total=total, completed=done, position=self.position(), text="")

    def _show(self) -> None:
        _Bar.live.update(self.task, completed=self.done, position=self.position(), text=self.text())

    def close(self, *, whole: bool) -> None:
        if self.total is None and whole:
            _Bar.live.update(self.task, total=self.done, completed=self.done)
        _Bar.live.update(self.task, position=self.position(), text=self.text())
        _Bar.live.stop_task(self.task)
        _Bar.open_bars -= 1
        if _Bar.open_bars == 0:
            _Bar.live.stop()
            _Bar.live = None


def say(sentence: str, *, out: IO[str] | None = None) -> None:
    """One line that stays, above the bars where there are any; `out` is stderr unless given."""
    if os.environ.get("RANK", "0") != "0":
        return
    if _Bar.live is not None:
        _Bar.live.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    else:
        print(sentence, file=out or sys.stderr, flush=True)


@contextmanager
def progress(
    total: int | None,
    label: str,
    unit: str = "step",
    *,
    done: int = 0,
    out: IO[str] | None = None,
    every: float = SECONDS_BETWEEN_LINES,
) -> Iterator[Phase]:
    """Show a step of `total` units; `done` of them are behind us already and do not count for the pace.

    `out` is stderr unless given; `every` is the time between plain lines, in seconds.
    """
    phase = _phase(total, label, unit, done, out or sys.stderr, every)
    whole = False
    try:
        yield phase
        whole = True
    finally:
        phase.close(whole=whole)


def _phase(total: int | None, label: str, unit: str, done: int, out: IO[str], every: float) -> Phase:
    if os.environ.get("RANK", "0") != "0":
        return Phase(total, label, unit, done)
    if out.isatty() and os.environ.get("TERM") != "dumb":
        return _Bar(total, label, unit, done, out)
    return _Lines(total, label, unit, done, out, every)


def _display(out: IO[str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[position]}"),
        TextColumn("{task.fields[text]}", style="dim"),
    )
    return Progress(*columns, console=Console(file=out), refresh_per_second=4)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.{1 if seconds < 10 else 0}f} s"


def _rate(count: float, unit: str, seconds: float) -> str:
    per_second = count / seconds
    digits = 0 if per_second >= 100 else 1 if per_second >= 1 else 2
    return f"{per_second:.{digits}f} {_plural(unit, 2)}/s"


def _plural(unit: str, count: int) -> str:
    return unit if count == 1 or unit.endswith("s") else f"{unit}s"
