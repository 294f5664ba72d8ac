"""The methods that MODPO is compared with, as families of models along one trade-off, trained and measured alike.

    modpo            the paper's loss
    loss_weighting   the DPO losses of all objectives, weighted
    soups            mixtures of DPO models that have learnt one objective each
    best_of_n        the best of n samples of the start, n such that ln n - (n - 1) / n is the mean KL of MODPO's models
    morlhf           PPO with the weighted sum of rewards

`only_NAME` are the DPO models of one objective, and `ml` is the start. What families share runs once a seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from homestretch import compare
from homestretch.compared import Compared, MethodRecord
from homestretch.config.best_of import BestOfConfig
from homestretch.config.front import at_weights, evaluation_of, swept
from homestretch.config.recipe import Recipe, Stage
from homestretch.config.soup import SoupConfig
from homestretch.ops.best_of import best_of_kl, best_of_n
from homestretch.policies.load import resolve
from homestretch.results import Measured

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
TINY = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2}  # fmt: skip
KEPT = "evaluate.metrics=[la_rougeL, length_ratio, kl]"


def options(description: str | None, out: str) -> argparse.ArgumentParser:
    """What both scripts are asked."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2 unless --quick or --small, which have 0")
    parser.add_argument("--weights", type=float, nargs="+", help=f"{WEIGHTS} unless --quick or --small")
    parser.add_argument("--most-samples", type=int, default=64, help="n of best-of-n at most")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a random model of two layers: it runs, it learns nothing")
    size.add_argument("--small", action="store_true", help="fewer rows, steps, weights and seeds, for one CPU core")
    return parser


def chosen(args: argparse.Namespace) -> tuple[str, list[int], list[float]]:
    """Name of the budget, seeds and weights."""
    name = "quick" if args.quick else "small" if args.small else "full"
    weights = {"quick": [0.2, 0.8], "small": [0.1, 0.5, 0.9], "full": list(WEIGHTS)}[name]
    return name, args.seeds or ([0, 1, 2] if name == "full" else [0]), args.weights or weights


def tiny_model(folder: Path) -> str:
    """A random model of two layers on the built-in tokenizer, made once."""
    if not folder.is_dir():
        torch.manual_seed(0)
        source = resolve("builtin/smollm2-135m")
        config = AutoConfig.from_pretrained(source, **TINY)
        config.layer_types = None
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)


def trained(
    recipes: Mapping[str, Recipe],
    out: Path,
    *,
    weights: Sequence[float],
    seeds: Sequence[int],
    objectives: Sequence[str],
    most_samples: int,
) -> tuple[Compared, int]:
    """The comparison of all families, and the n of best-of-n. `recipes`: modpo, morlhf, loss_weighting, best_of_n."""
    named = {family: _named(family, recipe, weights) for family, recipe in recipes.items() if family != "best_of_n"}
    settings = [*evaluation_of(list(recipes.values())), f"evaluate.metric_for_verdict={objectives[0]}", KEPT]
    how: dict[str, Any] = {"out": out, "seeds": seeds, "objectives": objectives, "overrides": settings}
    first = compare(named["modpo"], **how)
    kl = fmean(first.arms[f"{method}@t1"].metrics["kl"].value for method in named["modpo"])
    n = min(max(best_of_n(max(kl, 0.0)), 2), most_samples)  # one sample is no choice
    named["best_of_n"] = _named("best_of_n", _with_samples(recipes["best_of_n"], n), weights)
    alone = only(recipes["loss_weighting"])
    named["soups"] = _named("soups", soup_of(recipes["loss_weighting"], list(alone), out), weights)
    order = ("modpo", "loss_weighting", "soups", "best_of_n", "morlhf")
    methods = alone | {method: recipe for family in order for method, recipe in named[family].items()}
    return compare(methods, families={family: list(named[family]) for family in order}, **how), n


def only(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe with each of its objectives alone: what soups are made of."""
    stage = swept(recipe)
    found = {}
    for name in stage.config.shares:
        shares = {other: float(other == name) for other in stage.config.shares}
        found[f"only_{'pairs' if name == 'weight' else name}"] = _replaced(recipe, stage.config.with_shares(shares))
    return found


def soup_of(recipe: Recipe, models: Sequence[str], out: Path) -> Recipe:
    """A mixture in equal parts of the models of some methods in place of the recipe's last training."""
    shares = {str(out / name / "{seed}" / "model"): 1 / len(models) for name in models}
    return _replaced(recipe, SoupConfig(models=shares), name="soup")


def _with_samples(recipe: Recipe, n: int) -> Recipe:
    config = swept(recipe).config
    assert isinstance(config, BestOfConfig)
    return _replaced(recipe, config.model_copy(update={"num_samples": n}))


def _named(family: str, recipe: Recipe, weights: Sequence[float]) -> dict[str, Recipe]:
    return {f"{family}-{name}": at for name, at in at_weights(recipe, weights).items()}


def _replaced(recipe: Recipe, config: Any, name: str | None = None) -> Recipe:
    old = swept(recipe)
    stages = [Stage(name=name or old.name, config=config) if stage is old else stage for stage in recipe.stages]
    return recipe.model_copy(update={"stages": stages})


def line(record: Compared, n: int, **more: Any) -> dict[str, Any]:
    """What the last line of a script says."""
    front = record.front
    assert front is not None

    def seconds(methods: Sequence[str]) -> float:
        own = [_own(record.methods[method]) for method in methods]
        return round(fmean(own), 1) if own else 0.0

    return more | {
        "seeds": record.seeds,
        "prompts": front.hypervolume.n,
        "objectives": front.objectives,
        "reference": front.reference,
        "on_the_front": front.members,
        "hypervolume": _interval(front.hypervolume),
        "families": {
            name: {"hypervolume": _interval(family.hypervolume), "seconds_a_model": seconds(family.methods)}
            for name, family in front.families.items()
        },
        "differences": [difference.model_dump() for difference in front.differences],
        "best_of_n": {"n": n, "kl": round(best_of_kl(n), 4)},
        "points": {name: _point(record, name) for name in record.arms if "@" not in name},
        "failed": {name: method.error for name, method in record.methods.items() if method.error},
    }


def _point(record: Compared, name: str) -> dict[str, Any]:
    assert record.front is not None
    arm, sampled = record.arms[name], record.arms.get(f"{name}@t1")
    found = {key: _interval(arm.metrics[key]) for key in [*record.front.objectives, "la_rougeL"] if key in arm.metrics}
    return found | ({"kl": _interval(sampled.metrics["kl"])} if sampled and "kl" in sampled.metrics else {})


def _own(method: MethodRecord) -> float:
    return method.own.seconds if method.own is not None else 0.0


def _interval(measured: Measured) -> list[float]:
    return [round(value, 4) for value in (measured.value, measured.low, measured.high)]
