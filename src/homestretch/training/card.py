"""The model card: what was trained, on what, how well, and how to use it."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

from huggingface_hub.utils import HFValidationError, validate_repo_id

from homestretch.config.distill import DistillConfig
from homestretch.config.stages import TRAINS_POLICY
from homestretch.policies.builtin import HUB_NAME, NAME
from homestretch.results import Results
from homestretch.training.context import Context
from homestretch.training.named_models import named_models
from homestretch.writing import write_text

USE = {
    False: """from transformers import pipeline

generate = pipeline("text-generation", model="{name}")
print(generate({prompt}, return_full_text=False, max_new_tokens={length})[0]["generated_text"])""",
    True: """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("{name}"), AutoModelForSeq2SeqLM.from_pretrained("{name}")
ids = model.generate(**tokenizer({prompt}, return_tensors="pt"), max_new_tokens={length})
print(tokenizer.decode(ids[0], skip_special_tokens=True))""",
}
LOOKS = ("evaluate", "report")
SHOWN = ("rougeL", "la_rougeL", "chrf", "similarity", "length_ratio")


def write_card(context: Context) -> None:
    """Write `model/README.md`."""
    recipe = context.recipe
    example = context.splits.validation or context.splits.train
    prompt = repr(example[0].prompt) if example else '"..."'
    encoder_decoder = bool(context.config.is_encoder_decoder)
    use = USE[encoder_decoder].format(
        name=recipe.hub_model_id or context.run.model, prompt=prompt, length=recipe.dataset.max_completion_length
    )
    methods = ", ".join(f"`{stage.name}`" for stage in recipe.stages if stage.kind not in LOOKS)
    labels = "\nNo human preference labels were used." if _on_pairs_alone(context) else ""
    version = importlib.metadata.version("homestretch")
    text = f"""---
library_name: transformers
{_base_model(recipe.model_name_or_path)}pipeline_tag: {"text2text-generation" if encoder_decoder else "text-generation"}
tags: [homestretch, {", ".join(s.kind for s in recipe.stages if s.kind in TRAINS_POLICY)}]
---

# {context.run.path.name}

{recipe.model_name_or_path}, trained further with homestretch {version}.{labels}

**Data.** {context.splits.description}

**Method.** The stages, in order: {methods}. Seed {recipe.seed}; the whole recipe is `recipe.yaml` in the run's folder.
LoRA adapters, where used, lie in `adapter/` beside merged weights.

{_results(context)}
## Use

```python
{use}
```
"""
    # The file may share its bytes with the stage's copy: write_text replaces it rather than writing into it.
    write_text(context.run.model / "README.md", text)


def _base_model(name: str) -> str:
    """The line that names the model on the Hub, none for a folder: a card that names a path is refused there."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return ""
    return "" if Path(name).exists() else f"base_model: {json.dumps(HUB_NAME if name == NAME else name)}\n"


def _on_pairs_alone(context: Context) -> bool:
    """Whether all that was learnt from is pairs of prompt and answer: no rejected answers or rewards in the rows, and
    no reward, teacher or other model from outside the run, behind which preferences may stand."""
    recipe = context.recipe
    configs = [stage.config for stage in recipe.stages if stage.kind not in LOOKS]
    rewards = [term for config in configs for term in getattr(config, "rewards", {}).values()]
    return not (
        recipe.reward_model_name_or_path
        or any(name in row.columns for row in context.splits.train for name in ("rejected", "reward"))
        or any(set(reward.sources) - {"local"} for reward in rewards)
        or any(isinstance(config, DistillConfig) or named_models(config, recipe.seed) for config in configs)
    )


def _results(context: Context) -> str:
    if not context.run.results.is_file():
        return ""
    results = Results.read(context.run.results)
    names = [n for n in SHOWN if any(n in arm.metrics for arm in results.arms.values())]
    lines = ["| arm | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for arm, values in results.arms.items():
        cells = [f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" if (m := values.metrics.get(n)) else "" for n in names]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "## Results on the test split\n\n" + "\n".join(lines) + "\n"
