"""QA-feedback: human preference against relevance, factuality and completeness, by MODPO and its neighbours.

    python experiments/modpo/qa_feedback.py --data ../shared/data [--quick | --small] [--against completeness]

500 questions, split by question (300 to train on, 50 to choose by, 150 to report on). Pairs are ordered by the human
preference, which a reward model learns for the families that need one; the other objectives are the judges of
`qa_rewards.py`, fitted to the span labels of the training questions. `all` trades all four off at once. One front of
each family (see `families.py`) for each objective in `--against`; runs lie in `--out/BUDGET/OBJECTIVE` and go on where
they were killed. Without options it has five weights and three seeds; `--small` is a budget for one CPU core. The last
line is one JSON object.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import qa_rewards
from families import chosen, line, options, tiny_model, trained
from qa_rows import prepared

from homestretch.config.methods import loaded
from homestretch.config.recipe import Recipe

NAMES = tuple(qa_rewards.READERS)
LENGTHS = {"full": (160, 100), "small": (50, 45), "quick": (20, 12)}
"""Words of evidence and of an answer."""
TOKENS = {"full": (384, 160), "small": (128, 72), "quick": (64, 16)}
PAIRED = {
    "max_steps": 6,
    "metric_for_best_model": "none",
    "eval_examples": 1,
    "learning_rate": 1e-3,
    "micro_batch_tokens": 2048,
}
BUDGETS: dict[str, dict[str, dict[str, Any]]] = {
    "full": {
        "sft": {"num_train_epochs": 1.0}, "reward": {"num_train_epochs": 2.0},
        "pairs": {"num_train_epochs": 2.0, "metric_for_best_model": "loss"},
        "ppo": {"max_steps": 20, "metric_for_best_model": "reward"},
    },
    "small": {
        "sft": {"max_steps": 10, "metric_for_best_model": "none", "eval_examples": 1},
        "reward": {"max_steps": 8, "train_batch_size": 16}, "pairs": PAIRED,
        "ppo": {"max_steps": 2, "rollout_batch_size": 32, "train_batch_size": 32, "micro_batch_tokens": 2048,
                "metric_for_best_model": "none", "eval_examples": 1},
    },
    "quick": {
        "sft": {"max_steps": 2, "eval_examples": 1}, "reward": {"max_steps": 2, "eval_steps": 2},
        "pairs": PAIRED | {"max_steps": 2},
        "ppo": {"max_steps": 1, "rollout_batch_size": 16, "train_batch_size": 16, "eval_examples": 1},
    },
}  # fmt: skip
ROWS = {"full": {}, "small": {"max_train": 200, "max_validation": 12, "max_test": 24},
        "quick": {"max_train": 24, "max_validation": 4, "max_test": 8}}  # fmt: skip


def recipes_of(data: Path, budget: str, model: str, names: tuple[str, ...]) -> dict[str, Recipe]:
    """One recipe a family: half of the weight for the human preference, the rest for the other objectives in parts."""
    settings, (prompt, completion) = BUDGETS[budget], TOKENS[budget]
    part = 0.5 / len(names)
    terms = {name: {"function": f"{qa_rewards.__file__}:{name}", "weight": part} for name in names}
    shares = {**settings["pairs"], "weight": 0.5, "rewards": terms}
    rewards = {"model": 0.5, **terms}
    sampled = {"standardise": True, "length_penalty": "none", "reward_clip_range": None, "rewards": rewards}
    about = {
        "modpo": {"modpo": shares},
        "morlhf": {"ppo": settings["ppo"] | sampled},
        "loss_weighting": {"dpo": shares},
        "best_of_n": {"best_of": {"num_samples": 1, "rewards": rewards}},
    }
    # Rows come with their worse answers, so that none has to be made; `random` is never used.
    start = [
        {"sft": settings["sft"]},
        {"negatives": {"classes": ["random"], "held_out": None}},
        {"reward": {"kind": "pairwise", **settings["reward"]}},
    ]
    lengths = {"max_prompt_length": prompt, "max_completion_length": completion, "truncate": True}
    common = {"model_name_or_path": model, "dataset": {"name": str(data), **lengths, **ROWS[budget]}}
    return loaded({family: {**common, "stages": [*start, stage]} for family, stage in about.items()}, [])


def main() -> None:
    """Train, measure and print."""
    parser = options(__doc__, "runs/modpo/qa_feedback")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with qa_feedback/")
    parser.add_argument("--against", nargs="+", choices=[*NAMES, "all"], help="all four of them, or completeness alone")
    args = parser.parse_args()
    budget, seeds, weights = chosen(args)
    against = args.against or ([*NAMES, "all"] if budget == "full" else ["completeness"])
    root = args.out / budget
    evidence_words, answer_words = LENGTHS[budget]
    source = args.data / "qa_feedback"
    judges = prepared(source, root / "data", evidence_words=evidence_words, answer_words=answer_words)
    model = tiny_model(root / "tiny") if args.quick else "builtin/smollm2-135m"
    fronts = {}
    for objective in against:
        names = NAMES if objective == "all" else (objective,)
        recipes = recipes_of(root / "data", budget, model, names)
        objectives = ["rewards/model", *(f"rewards/{name}" for name in names)]
        how = {"weights": weights, "seeds": seeds, "objectives": objectives, "most_samples": args.most_samples}
        fronts[objective] = line(*trained(recipes, root / objective, **how))
    found = {"name": "modpo_qa_feedback", "budget": budget, "weights": weights, "judges_auroc": judges}
    print(json.dumps(found | {"fronts": fronts}))


if __name__ == "__main__":
    main()
