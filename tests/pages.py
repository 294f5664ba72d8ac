"""Pages of the documentation as something to run: their blocks and commands, and a folder in which to follow them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from homestretch.cli.main import run_command
from homestretch.config.recipe import Stage, load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.errors import RecipeError

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SRC = ROOT / "src"
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)(?:^(?:    .*)?\n)*", re.MULTILINE)
SHELL = ("bash", "sh", "")
COMMAND = re.compile(r"(homestretch|accelerate|python|pip|make|curl|git|source|kill|vllm) ")
Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it stands for (or nothing), and its lines."""

    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    """Fenced blocks in the order of the page."""
    return [Block(*found) for found in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> list[str]:
    """What a page shows to be typed, fenced or indented, one command a line, as it stands."""
    text = page.read_text(encoding="utf-8")
    shown = [block.code for block in blocks(page) if block.language in SHELL]
    shown += [textwrap.dedent(found) for found in INDENTED.findall(FENCE.sub("", text))]
    return [line for code in shown for line in lines_of(code) if COMMAND.match(line)]


def snippets(page: Path) -> list[str]:
    """Blocks of a page that are no commands and no code: indented ones and those of YAML."""
    text = page.read_text(encoding="utf-8")
    fenced = [block.code for block in blocks(page) if block.language == "yaml"]
    return fenced + [textwrap.dedent(found) for found in INDENTED.findall(FENCE.sub("", text))]


def lines_of(code: str) -> list[str]:
    """Lines of a shell, those that end in a backslash joined with the next."""
    return [line.strip() for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def words(command: str) -> list[str]:
    """The arguments of a command of `homestretch`, as bash gives them to it."""
    script = f"homestretch() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def unexplained(folder: Path) -> set[str]:
    """Keys in the logs of runs below a folder that have no line on the page about logged keys."""
    page = (DOCS / "metrics" / "logged.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    keys = [key for cell in cells for key in re.findall(r"`([^`]+)`", cell)]
    known = re.compile("|".join(re.sub("NAME|MODE", r"\\w+", re.escape(key)) for key in keys))
    logs = [file.read_text(encoding="utf-8") for file in folder.rglob("metrics.jsonl")]
    return {key for text in logs for line in text.splitlines() for key in json.loads(line) if not known.fullmatch(key)}


@dataclass
class Walk:
    """Somebody who follows a page in a folder, with a small model and few steps.

    `replaced` maps what stands on the page (`MODEL`) to what is taken for it. `settings` has further settings by stage,
    by `dataset`, or by nothing for shared ones: a command that takes recipes gets those that they have a place for.
    `options` are further options by command, where it does not have them already.
    """

    folder: Path
    replaced: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def follow(self, page: Path, *, leave_out: str = "\0") -> None:
        """Every block in order, but those with the text `leave_out`. What a block prints must be what the page shows
        behind it."""
        for block in blocks(page):
            if leave_out not in block.code:
                self.take(block)

    def take(self, block: Block) -> None:
        """Do what a block says: write a file, type commands, run Python, or compare what was printed."""
        if block.title:
            (self.folder / block.title).write_text(self.here(block.code), encoding="utf-8")
        elif block.language == "bash":
            for line in lines_of(block.code):
                self.type(line)
        elif block.language == "python":
            with self.inside(), contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(self.here(block.code), "page", "exec"), self.names)
            self.printed = out.getvalue()
        else:
            assert block.language == "text", f"nobody can follow a block of `{block.language}`"
            assert self.printed == block.code

    def type(self, line: str) -> str:
        """What a line of a shell prints; `homestretch` runs in this process, anything else in bash."""
        if line.startswith("homestretch "):
            with self.inside(), contextlib.redirect_stdout(io.StringIO()) as out:
                arguments = self.arguments(line)
                assert run_command(arguments) == 0, arguments
            return out.getvalue()
        return self.bash(line)

    def bash(self, code: str) -> str:
        """What some lines print that are run by bash, in the folder."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(SRC)}
        done = subprocess.run(["bash", "-c", code], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def arguments(self, line: str) -> list[str]:
        """The arguments of a command, with its names replaced and what makes it small behind them."""
        given = [self.here(word) for word in words(line)]
        named = {word.partition("=")[0] for word in given}
        kinds = kinds_of(given)
        settings = [
            f"{part}.{key}={value}".lstrip(".")
            for part, values in self.settings.items()
            for key, value in values.items()
            if kinds and (part in kinds or part in ("", "dataset")) and f"{part}.{key}".lstrip(".") not in named
        ]
        options = [x for pair in self.options.get(given[0], {}).items() if pair[0] not in named for x in pair]
        return [*given, *settings, *options]

    def here(self, text: str) -> str:
        """The text with its names replaced."""
        for name, value in self.replaced.items():
            text = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w/])", lambda _, value=value: value, text)
        return text

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Work in the folder, whose modules can be imported."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.syspath_prepend(str(self.folder))
            yield


def kinds_of(given: list[str]) -> set[str]:
    """Kinds of the stages that a command would run by its recipes; none where it takes no recipe."""
    if given[:2] == ["reward", "fit"]:
        return set() if "features" in given else {"negatives", "reward"}
    plain = [word for word in given[1:] if "=" not in word]
    recipes = {"run": ["text"], "quickstart": ["quickstart"], "train": plain[:1], "doctor": plain[:1]}
    recipes |= {"compare": plain, "front": plain}
    return {stage.kind for name in recipes.get(given[0], []) for stage in stages(name)}


def stages(name: str) -> list[Stage]:
    """The stages of a recipe; none of a word that is none, such as the value of an option."""
    try:
        return load_recipe(find_recipe(name)).stages
    except RecipeError:
        return []
