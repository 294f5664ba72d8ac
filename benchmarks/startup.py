"""Seconds until `--help` and until a toy training is done: homestretch against TRL's command line.

    python benchmarks/startup.py

`--help` is `homestretch --help` against `trl sft --help`. The toy is one step of fine-tuning a Llama of two layers with
random weights on eight rows, from the command to the saved model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import arguments, environment, finish, interleaved, result
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from homestretch.policies.builtin import smollm2

RECIPE = """\
model_name_or_path: {model}
dataset: {{name: {data}, max_validation: 2, max_test: 2}}
stages:
  - sft: {{max_steps: 1, use_peft: false, eval_examples: 1}}
"""


def toy(folder: Path) -> None:
    """A model with a real tokenizer, data in a folder of their own, which TRL reads whole, and a recipe."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2())
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [{"prompt": f"How much is {i} and {i}?", "completion": f"It is {2 * i}."} for i in range(12)]
    (folder / "data").mkdir()
    (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = RECIPE.format(model=folder / "model", data=folder / "data" / "train.jsonl")
    (folder / "recipe.yaml").write_text(recipe)


def command(*words: object) -> Callable[[], float]:
    """Runs a second of a command; `{out}` becomes a new folder."""

    def way() -> float:
        with tempfile.TemporaryDirectory() as out:
            line = [str(w).replace("{out}", f"{out}/run") for w in words]
            started = time.perf_counter()
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return 1 / (time.perf_counter() - started)

    return way


def main() -> None:
    """Time and print."""
    args = arguments(__doc__, rounds=5).parse_args()
    ours, trl = Path(sys.executable).with_name("homestretch"), environment("trl").with_name("trl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toy(folder)
        trained = command(ours, "train", folder / "recipe.yaml", "--out", "{out}")
        peer = command(
            trl, "sft", "--model_name_or_path", folder / "model", "--dataset_name", folder / "data",
            "--output_dir", "{out}", "--max_steps", 1, "--use_cpu", "--report_to", "none", "--bf16", "False",
        )  # fmt: skip
        cases = []
        for case, ways in {
            "--help": {"homestretch": command(ours, "--help"), "TRL": command(trl, "sft", "--help")},
            "one toy step": {"homestretch": trained, "TRL": peer},
        }.items():
            rates = interleaved(ways, rounds=1 if args.quick else args.rounds)
            cases.append(result(case, "runs/s", rates, ours="homestretch", peer="TRL"))
    finish("startup", cases)


if __name__ == "__main__":
    main()
