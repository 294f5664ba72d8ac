"""What the pages show to be typed: every command is understood, and followed on a small model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import typer
import yaml
from pages import DOCS, ROOT, Walk, blocks, commands, snippets, unexplained, words
from test_pipeline import pairs

from homestretch.cli.main import app
from homestretch.config.recipe import load_recipe
from homestretch.config.shipped import find_recipe
from homestretch.config.yaml import load_text
from homestretch.errors import RecipeError
from homestretch.verbs.run import own_pairs

PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if p.parent.name != "commands" and p.stem != "log")]
OURS = "homestretch "
FOLLOWED = {"tutorials/own-data.md", "tutorials/writing-a-reward.md", "adding-an-algorithm.md"}
"""Pages whose every block is taken in order, in tests of their own."""

ELSEWHERE = {
    "homestretch lab": "tests/test_lab.py",
    "make quickstart": "Makefile",
    "make test": "Makefile",
    "make crash": "tests/test_crash.py",
    "git clone": "docs/quickstart.md",
    "source .venv/bin/activate": "Makefile",
    "accelerate launch": "tests/test_ranks_pipeline.py",
    "python benchmarks/scaling.py": "tests/test_benchmarks.py",
}
"""What is typed by the first words of its line, and where that is run, or what it is about where it is the set-up."""

PYTHON = {"python.md": 2, "generation.md": 1, "rewards.md": 1, "compare.md": 1, "front.md": 1}
"""Blocks of Python on pages that are not followed: test_docs, test_docs_generation, test_reward_config, and here."""

OFFLINE = {"max_steps": 2, "train_batch_size": 4, "eval_examples": 2, "lora_r": 2, "bf16": "false"}
ONLINE = {**OFFLINE, "rollout_batch_size": 8, "num_generations": 4}
SMALL = {
    "": {"model_name_or_path": "model"},
    "dataset": {"name": "pairs.jsonl", "max_prompt_length": 96, "max_completion_length": 24, "max_test": 6},
    **dict.fromkeys(("sft", "wbc", "gold", "dpo", "modpo"), OFFLINE),
    "reward": {"max_steps": 2, "train_batch_size": 4, "lora_r": 2, "bf16": "false"},
    "ppo": {**ONLINE, "value_warmup_steps": 0},
    "evaluate": {"metrics": "[la_rougeL]"},
}


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name


def parsed(line: str) -> dict[str, Any]:
    """The parameters that the command line makes of a command; it refuses what it does not know."""
    arguments, command, name = words(line), typer.main.get_command(app), "homestretch"
    context = command.make_context(name, [], resilient_parsing=True)
    while hasattr(command, "commands"):
        name = arguments.pop(0)
        command = command.commands[name]
        leaf = not hasattr(command, "commands")
        context = command.make_context(name, arguments if leaf else [], parent=context, resilient_parsing=not leaf)
    return dict(context.params)


def recipe_with(given: dict[str, Any]) -> None:
    """Refuse settings behind a command that a recipe would refuse."""
    settings = list(given.get("settings") or ())
    if "data" in given and "model" in given and "kind" not in given:
        load_recipe(find_recipe("text"), own_pairs(given["data"], given["model"], "error", settings))
    elif "kind" in given and given["kind"] == "model":
        load_recipe({"stages": ["negatives", "reward"]}, settings)
    elif given.get("recipe"):
        try:
            source = find_recipe(given["recipe"])
        except RecipeError:
            source = find_recipe("text")  # a file of the reader's own
        load_recipe(source, settings)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_understood(page: Path) -> None:
    for line in commands(page):
        if line.startswith(OURS):
            recipe_with(parsed(line))


def test_a_command_that_is_not_there_would_be_seen() -> None:
    for line in ("homestretch run pairs.jsonl --modle M", "homestretch generate MODEL", "homestretch doctr"):
        with pytest.raises(Exception, match=r"modle|(?i:data)|doctr"):
            parsed(line)
    with pytest.raises(RecipeError, match="did you mean `kl_coef`"):
        recipe_with(parsed("homestretch train RECIPE.yaml ppo.kl_cof=1"))
    assert words("homestretch generate M p --stop $'\\n' # ends there") == ["generate", "M", "p", "--stop", "\n"]


def test_every_command_is_run_somewhere() -> None:
    seen = [(name_of(page), line) for page in PAGES for line in commands(page)]
    assert sum(line.startswith(OURS) for _, line in seen) >= 40
    for page, line in seen:
        place = next((there for start, there in ELSEWHERE.items() if line.startswith(start)), None)
        assert place is None or (ROOT / place).is_file()
        assert place or page in FOLLOWED or (line.startswith(OURS) and page in SETTING), f"{page}: {line}"
    used = {start for start in ELSEWHERE for _, line in seen if line.startswith(start)}
    assert used == set(ELSEWHERE)


def test_every_block_of_python_is_run_somewhere() -> None:
    found = {name_of(page): sum(b.language == "python" for b in blocks(page)) for page in PAGES}
    assert {page: count for page, count in found.items() if count and page not in FOLLOWED} == PYTHON


def test_recipes_on_pages_are_recipes() -> None:
    found = [text for page in PAGES for text in snippets(page) if re.search(r"^stages:", text, re.MULTILINE)]
    assert len(found) >= 8
    for text in found:
        values = load_text(text, name="page").values
        if "focal" in text:
            continue  # a stage that the page itself adds, in test_adding
        load_recipe({"reward_model_name_or_path": "somewhere", **values})


def rows_to(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def own_recipe(folder: Path) -> None:
    for name in ("mine.yaml", "RECIPE.yaml"):
        (folder / name).write_text(find_recipe("text").read_text(encoding="utf-8"), encoding="utf-8")


def preferences(folder: Path) -> None:
    rows = [row | {"chosen": row.pop("completion"), "rejected": "red red red red red red."} for row in pairs(60)]
    rows_to(folder / "pairs.jsonl", rows)
    rows_to(folder / "rows.jsonl", pairs(8))
    (folder / "features.yaml").write_text("features:\n  concise: {low: -60, high: 0}\nhidden_sizes: []\n")


def responses(folder: Path) -> None:
    rows_to(folder / "brief.jsonl", pairs(6))
    both = [row | {"correct": k < 2, "answer": str(k)} for row in pairs(8) for k in range(4)]
    rows_to(folder / "samples.jsonl", both)


def rewarded(folder: Path) -> None:
    rows_to(folder / "pairs.jsonl", [row | {"reward": 0.25 * (i % 4)} for i, row in enumerate(pairs(60))])


def nothing_more(folder: Path) -> None:
    """The pairs and prompts that every page has are enough."""


SETTING: dict[str, Callable[[Path], None]] = {
    "README.md": nothing_more,
    "quickstart.md": nothing_more,
    "recipes.md": nothing_more,
    "distributed.md": nothing_more,
    "generation.md": nothing_more,
    "goals.md": responses,
    "rewards.md": preferences,
    "compare.md": rewarded,
    "front.md": nothing_more,
    "methods/distillation.md": own_recipe,
    "metrics/alarms.md": own_recipe,
}
"""What stands in the folder of somebody who types the commands of a page."""

REPLACED = {
    "MODEL": "model",
    "LARGER": "model",
    "path/or/hub-name": "model",
    "tokens=200000": "tokens=400",
    "0,1,2": "0",
    "seeds=[0, 1, 2]": "seeds=[0]",
    '"dataset.max_train": 400': "**small",
    "weights=[0.1, 0.5, 0.9]": "weights=[0.1, 0.5, 0.9], overrides=small",
}


@pytest.mark.slow
@pytest.mark.parametrize("page", SETTING)
def test_the_commands_of_a_page_can_be_typed(page: str, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model", "llama", std=0.3)
    rows_to(tmp_path / "pairs.jsonl", pairs(60))
    rows_to(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in pairs(3)])
    SETTING[page](tmp_path)
    walk = Walk(tmp_path, REPLACED, SMALL, {"front": {"--weights": "0.3,0.7"}})
    file = next(p for p in PAGES if name_of(p) == page)
    for line in commands(file):
        if line.startswith(OURS):
            walk.type(line)
    first = next(line for line in commands(file) if line.startswith(OURS))
    with walk.inside():
        texts = [word.partition("=") for word in walk.arguments(first) if re.match(r"[\w.]+=", word)]
    absent = ("tokens", "gold") if page == "compare.md" else ()  # a budget, and a recipe that the block leaves out
    small = {key: yaml.safe_load(value) for key, _, value in texts if key.partition(".")[0] not in absent}
    walk.names["small"] = small
    for block in blocks(file):
        if block.language == "python" and "overrides" in walk.here(block.code):
            walk.take(block)
            assert walk.printed.strip()
    assert unexplained(tmp_path) == set()
