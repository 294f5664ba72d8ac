"""Command lines for hypothesis to draw: every command with arguments and options of any kind, in a folder of odd files.

None of them finds a model, so that none begins to train.
"""

from __future__ import annotations

import functools
import json
import typing
from pathlib import Path
from typing import Any

import typer
from crash_strategies import arguments, overrides
from hypothesis import strategies as st

from homestretch.cli.main import app

PAIRS = "".join(json.dumps({"prompt": f"the cat {i}", "completion": f"cat {i}."}) + "\n" for i in range(12))
OUTPUTS = "".join(json.dumps({"arm": arm, "text": "a cat.", "references": ["a cat."]}) + "\n" for arm in "ab")
TEXTS = {
    "good.jsonl": PAIRS,
    "bad.jsonl": PAIRS + '{"prompt": "a"\n',
    "empty.jsonl": "",
    "one.json": '[{"prompt": "a", "prediction": "b"}]',
    "table.csv": "prompt,completion\na,b\n",
    "outputs.jsonl": OUTPUTS,
    "recipe.yaml": "model_name_or_path: absent\ndataset: {name: good.jsonl}\nstages: [sft, evaluate, report]\n",
    "front.yaml": "model_name_or_path: absent\nstages: [dpo: {weight: 0.5, rewards: {concise: 0.5}}, evaluate]\n",
    "bad.yaml": "stages: [sft, {ppo: {kl_cof: 1}}]\n",
    "model/config.json": "{",
    "model/model.safetensors": "no tensors",
    "other/config.json": '{"model_type": "llama"}',
    "reward/reward.json": "[",
    "reward/reward_head.safetensors": "no tensors",
    "run/recipe.yaml": "stages: [sft]\n",
    "run/stages/01-sft/stage.json": "{}",
    "run/evaluation/results.json": '{"schema_version": 1, "arms": 3}',
    "run/evaluation/generations.jsonl": OUTPUTS,
    "comparison/comparison.json": '{"schema_version": 2}',
    "lab/lab.yaml": "data: [",
    "folder/train.jsonl": PAIRS,
    "folder/test.jsonl": PAIRS,
}
THERE = [
    "absent",
    "absent.jsonl",
    "absent.yaml",
    "binary.jsonl",
    ".",
    "/",
    "",
    *TEXTS,
    *{Path(t).parts[0] for t in TEXTS},
]
OUT = ["o", "o.jsonl", "o/p.jsonl", "good.jsonl", "good.jsonl/o", "run", "lab", "comparison", "folder", "a" * 300, "."]
LIGHT = {
    ("quickstart",): ["sed=1"],
    ("run",): ["--model", "absent"],
    ("reward", "fit"): ["--model", "absent"],
    ("train",): ["model_name_or_path=absent", "dataset.name=good.jsonl"],
    ("compare",): ["model_name_or_path=absent", "dataset.name=good.jsonl"],
    ("front",): ["model_name_or_path=absent", "dataset.name=good.jsonl"],
    ("doctor",): ["model_name_or_path=absent"],
    ("lab", "teacher-hacking"): [f"--{name}=absent" for name in ("oracle", "teacher", "student")],
}
"""What keeps a command from real work."""


def workplace(folder: Path) -> None:
    """A folder with files of every kind, good and bad."""
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "binary.jsonl").write_bytes(bytes(range(256)))


@functools.cache
def commands() -> dict[tuple[str, ...], Any]:
    """Every command that does something, by its words."""
    found, rest = {}, [((), typer.main.get_command(app))]
    while rest:
        words, command = rest.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            found[words] = command
        else:
            rest += [((*words, name), part) for name, part in inner.items()]
    return found


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Words behind `homestretch`."""
    there = commands()
    words = draw(st.sampled_from(sorted(there)))
    line = [*words]
    for part in there[words].params:
        if part.param_type_name == "argument":
            line += [_value(draw, part) for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2])))]
        elif part.required or draw(st.integers(0, 3)) == 0:
            option = draw(st.sampled_from([*part.opts, *part.secondary_opts]))
            line += [option] if getattr(part, "is_flag", False) else [option, _value(draw, part)]
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(1, len(line))), draw(st.sampled_from(["--nope", "-x", "--", "--out"]) | arguments))
    return line + LIGHT.get(words, [])


def _value(draw: st.DrawFn, part: Any) -> str:
    if part.name in ("out", "to"):
        return draw(st.sampled_from(OUT))
    kind = getattr(getattr(part, "type_descriptor", None), "annotation", None)
    choices = typing.get_args(kind)
    fitting = st.sampled_from([str(choice) for choice in choices]) if choices else st.sampled_from(THERE)
    if part.name in ("settings", "arguments"):
        fitting = st.one_of(*[fitting] * 4, overrides)
    if kind in (int, float):
        fitting = st.integers(-2, 5).map(str) | st.floats().map(str)
    return draw(st.one_of(*[fitting] * 6, arguments))
