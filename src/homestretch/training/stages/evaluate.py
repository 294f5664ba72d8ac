"""Stage `evaluate`: generate for the test prompts with every arm, and measure."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from homestretch import ranks
from homestretch.config.best_of import BestOfConfig
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.rewards import falling
from homestretch.config.stages import LIKELIHOOD, TRAINS_POLICY, stage_kind
from homestretch.data.collate import collate
from homestretch.data.records import Example, prompt_text
from homestretch.data.tokenize import TokenizedExample
from homestretch.evaluate import LOWER, evaluate_rows
from homestretch.generation.engine import Sample, generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import counted
from homestretch.metrics.postprocess import postprocess_row
from homestretch.metrics.scorers import available_scorers
from homestretch.ops.best_of import best_of_kl
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.progress import progress
from homestretch.results import RewardMode, Selection, StageRecord, Timing
from homestretch.seeds import fold
from homestretch.training import checkpoint
from homestretch.training.best_of import best_samples, samples_of
from homestretch.training.context import Context
from homestretch.training.output_scores import divergences, output_rewards, weighted_sum
from homestretch.training.stages.negatives import AUDIT
from homestretch.training.stages.reward import MODES
from homestretch.writing import write_rows


def run(context: Context, config: EvaluateConfig, folder: Path) -> None:
    """Write `evaluation/generations.jsonl` and `evaluation/results.json`."""
    examples = context.splits.test[: config.max_examples]
    rows: list[dict[str, Any]] = []
    compared = list(arms(context.finished).items())
    start = dict(compared).get("ml")
    reference = str(context.finished[start] / "model") if start else context.recipe.model_name_or_path
    settings = {stage.name: stage.config for stage in context.recipe.stages}
    for short, stage in compared if config.baseline else compared[-1:]:
        own = settings[stage]
        best_of = own if isinstance(own, BestOfConfig) else None
        model = context.finished[stage] / "model"
        rows += arm_rows(context, config, examples, model, short, reference, folder, best_of=best_of)
    if ranks.is_first():
        with ranks.alone():
            write_results(context, config, rows)


def write_results(context: Context, config: EvaluateConfig, rows: list[dict[str, Any]]) -> None:
    """Both files, of the outputs of all arms."""
    write_rows(context.run.generations, rows)
    with progress(None, "evaluate", "metric") as bar:
        results = evaluate_rows(
            rows,
            metrics=config.metrics,
            la_rouge=config.la_rouge,
            seed=config.seed,
            learned=available_scorers(config.metrics, bleurt_checkpoint=config.bleurt_checkpoint),
            headline_metric=config.metric_for_verdict,
            progress=lambda *_: bar.advance(1),
        )
    results = results.model_copy(
        update={
            "dataset": context.splits.description,
            "stages": arms(context.finished),
            "reward_model": reward_modes(context),
            "baselines": baselines(context),
            "selection": selections(context),
            "timings": timings(context),
        }
    )
    results.write(context.run.results)


def arms(finished: Collection[str]) -> dict[str, str]:
    """The stages whose models are compared, by the short names of their arms: `ml`, the first that maximises
    likelihood, `sft` before `ift`, and `rl`, the last that trained the policy, if that is another. `finished`: names in
    the order of the run."""
    trained = [name for name in finished if stage_kind(name) in TRAINS_POLICY]
    first = next((name for kind in LIKELIHOOD for name in trained if stage_kind(name) == kind), None)
    return ({"ml": first} if first else {}) | ({"rl": trained[-1]} if trained and trained[-1] != first else {})


def arm_rows(
    context: Context,
    config: EvaluateConfig,
    examples: list[Example],
    model: Path,
    short: str,
    reference: str,
    folder: Path,
    *,
    best_of: BestOfConfig | None = None,
) -> list[dict[str, Any]]:
    """Rows of one model: greedy and sampled, raw and post-processed; of `best_of` the best samples stand for both.

    `reference` is the model that `kl` is from, `folder` that of the stage.
    """
    trunk = context.load_trunk(model)
    policy = context.policy(trunk, None)
    tokens = context.tokens(examples, is_encoder_decoder=trunk.is_encoder_decoder)
    rows = []
    for suffix, temperature in (("", 0.0), ("@t1", 1.0)) if config.sampled else (("", 0.0),):
        if best_of is None:
            seed = fold("evaluate", config.seed)
            samples = one_each(context, policy, tokens, temperature, seed=seed, arm=f"{short}_raw{suffix}")
        else:
            samples = best_samples(context, best_of, policy, examples, tokens, folder, model=model, seed=config.seed)
        responses = with_responses(collate(tokens), samples)
        rewards = output_rewards(context, config.rewards, examples, responses)
        kl = None
        if config.score_kl and temperature:
            kl = (
                [best_of_kl(samples_of(best_of))] * len(samples)
                if best_of is not None
                else divergences(context, policy, reference, responses)
            )
        for i, (example, row, sample) in enumerate(zip(examples, tokens, samples, strict=True)):
            raw = {
                "id": example.id,
                "arm": f"{short}_raw{suffix}",
                "prompt": prompt_text(example),
                "references": list(example.references),
                "reference_tokens": row.ref_length,
                "source": example.source,
                "text": context.tokenizer.decode(sample.ids, skip_special_tokens=True).strip(),
                "terminated": sample.terminated,
                "tokens": len(sample.ids),
                "reward": weighted_sum(config.rewards, {name: values[i] for name, values in rewards.items()}),
                "rewards": {name: values[i] for name, values in rewards.items()} or None,
                LOWER: falling(config.rewards) or None,
                "kl": None if kl is None else kl[i],
            }
            rows += [raw, postprocess_row(raw, arm=f"{short}_post{suffix}", steps=config.postprocess)]
    return rows


def one_each(
    context: Context, policy: Policy, tokens: list[TokenizedExample], temperature: float, *, seed: int, arm: str
) -> list[Sample]:
    """A response to each prompt."""
    longest = context.recipe.dataset.max_completion_length
    with progress(len(tokens), arm, "prompt") as bar:
        made = generate(
            policy,
            [row.prompt_ids for row in tokens],
            eos_ids=end_ids(policy.trunk.lm, context.tokenizer),
            sampling=SamplingConfig(temperature=temperature, max_new_tokens=longest),
            seed=seed,
            on_done=counted(bar.advance),
        )
    return [sample for (sample,) in made]


def reward_modes(context: Context) -> dict[str, RewardMode]:
    """The reward model's table, where the run trained one."""
    if "reward" not in context.folders:
        return {}
    table = json.loads((context.folders["reward"] / MODES).read_text())
    return {mode: RewardMode(**values) for mode, values in table.items()}


def baselines(context: Context) -> dict[str, dict[str, RewardMode]]:
    """What length alone makes of the reward model's pairs, where the run made them."""
    if "reward" not in context.folders or "negatives" not in context.folders:
        return {}
    classes = json.loads((context.folders["negatives"] / AUDIT).read_text())["classes"]
    alone = {c["name"]: RewardMode(n=c["n"], auroc=c["length"]) for c in classes if c["length"] is not None}
    return {"length alone": alone}


def selections(context: Context) -> list[Selection]:
    """Which checkpoint each stage kept, and by what."""
    found = []
    for stage in context.recipe.stages:
        best = context.finished.get(stage.name, Path()) / "best"
        if stage.name in context.finished and best.is_dir():
            state, metric = checkpoint.read_state(best), getattr(stage.config, "metric_for_best_model", "")
            found.append(Selection(stage=stage.name, metric=metric, step=state["round"], value=state["metric"]))
    return found


def timings(context: Context) -> dict[str, Timing]:
    """Seconds, tokens and memory of the stages before this one."""
    found = {}
    for stage in context.run.stage_folders():
        record = StageRecord.read(stage.record)
        if record.status == "done" and record.seconds is not None:
            found[record.name] = Timing(
                seconds=record.seconds, tokens=record.tokens, peak_memory_bytes=record.peak_memory_bytes
            )
    return found
