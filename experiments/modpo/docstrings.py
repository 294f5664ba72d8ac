"""The summarisation front on the quickstart task: the reward model's score against brevity, MODPO beside its rivals.

    python experiments/modpo/docstrings.py [--quick | --small]

One front of each family (see `families.py`), measured on the same test prompts above the same corner; runs lie in
`--out/BUDGET` and go on where they were killed. Without options it has five weights and three seeds; `--small` is a
budget for one CPU core. The last line is one JSON object.
"""

from __future__ import annotations

import json

from families import chosen, line, options, tiny_model, trained

from homestretch.config.methods import loaded
from homestretch.config.shipped import find_recipe

RECIPES = {"modpo": "modpo/brevity", "morlhf": "ppo/brevity", "loss_weighting": "dpo/brevity",
           "best_of_n": "best_of/brevity"}  # fmt: skip
OBJECTIVES = ["rewards/model", "rewards/concise"]
BUDGETS = {
    "full": [],
    "small": [
        "dataset.max_train=160", "dataset.max_validation=24", "dataset.max_test=40", "sft.max_steps=10",
        "sft.metric_for_best_model=none", "sft.eval_examples=1", "negatives.mined.max_prompts=48",
        "negatives.mined.num_samples=1", "negatives.classes_per_example=1", "reward.max_steps=6",
        "modpo.max_steps=6", "dpo.max_steps=6", "modpo.metric_for_best_model=none", "dpo.metric_for_best_model=none",
        "modpo.eval_examples=1", "dpo.eval_examples=1", "modpo.learning_rate=1e-3", "dpo.learning_rate=1e-3",
        "modpo.micro_batch_tokens=2048", "dpo.micro_batch_tokens=2048", "ppo.micro_batch_tokens=2048",
        "ppo.max_steps=3", "ppo.rollout_batch_size=32", "ppo.train_batch_size=32", "ppo.metric_for_best_model=none",
        "ppo.eval_examples=1", "ppo.value_warmup_steps=1",
    ],
    "quick": [
        "dataset.max_train=40", "dataset.max_validation=8", "dataset.max_test=12", "dataset.max_completion_length=12",
        "sft.max_steps=2", "sft.eval_examples=1", "negatives.mined.max_prompts=8", "negatives.mined.num_samples=1",
        "negatives.classes_per_example=1", "reward.max_steps=2", "reward.eval_steps=2", "modpo.max_steps=2",
        "dpo.max_steps=2", "modpo.eval_examples=1", "dpo.eval_examples=1", "modpo.metric_for_best_model=none",
        "dpo.metric_for_best_model=none", "ppo.max_steps=1", "ppo.rollout_batch_size=16", "ppo.train_batch_size=16",
        "ppo.eval_examples=1",
    ],
}  # fmt: skip


def main() -> None:
    """Train, measure and print."""
    args = options(__doc__, "runs/modpo/docstrings").parse_args()
    budget, seeds, weights = chosen(args)
    settings = list(BUDGETS[budget])
    if args.quick:
        settings.append(f"model_name_or_path={tiny_model(args.out / budget / 'tiny')}")
    recipes = loaded({family: find_recipe(name) for family, name in RECIPES.items()}, settings)
    out = args.out / budget / "front"
    how = {"weights": weights, "seeds": seeds, "objectives": OBJECTIVES, "most_samples": args.most_samples}
    record, n = trained(recipes, out, **how)
    print(json.dumps(line(record, n, name="modpo_docstrings", budget=budget, weights=weights)))


if __name__ == "__main__":
    main()
