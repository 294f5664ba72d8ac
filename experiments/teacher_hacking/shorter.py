"""A smaller model of the same tokens: layers of a larger one, evenly spaced, the first and the last among them.

    python experiments/teacher_hacking/shorter.py builtin/smollm2-135m runs/shorter --layers 10

What it says is worth little before it is trained. It is the student of `run.py --oracle --teacher --student`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from homestretch.policies.load import resolve


def kept(there: int, wanted: int) -> list[int]:
    """Numbers of the layers that stay, `wanted` of `there`. Raises ValueError unless 2 <= wanted <= there."""
    if not 2 <= wanted <= there:
        raise ValueError(f"{wanted} layers cannot be taken of {there}; give --layers between 2 and {there}.")
    return [round(i * (there - 1) / (wanted - 1)) for i in range(wanted)]


def shorten(model: str, layers: int, out: Path) -> list[int]:
    """Write the shorter model with its tokenizer; the layers that it has of the longer one."""
    source = resolve(model)
    lm = AutoModelForCausalLM.from_pretrained(source)
    stay = kept(len(lm.model.layers), layers)
    lm.model.layers = nn.ModuleList(lm.model.layers[i] for i in stay)
    lm.config.num_hidden_layers = layers
    lm.save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
    return stay


def main() -> None:
    """Write and say what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="builtin/NAME, a folder, or a name on the Hub")
    parser.add_argument("out", type=Path, help="folder of the shorter model")
    parser.add_argument("--layers", type=int, default=10, help="layers that stay (10)")
    args = parser.parse_args()
    stay = shorten(args.model, args.layers, args.out)
    print(f"{args.out}: layers {', '.join(map(str, stay))} of {args.model}")


if __name__ == "__main__":
    main()
