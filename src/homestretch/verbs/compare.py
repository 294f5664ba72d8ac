"""Several recipes on the same data and model, under one budget, with one report."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from homestretch import ranks
from homestretch.compared import Compared, ComparisonFolder, Family, Front, Place, VolumeDifference
from homestretch.config.base import nearest
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.methods import Method, Source, load_methods, parse_budget
from homestretch.config.rewards import falling
from homestretch.config.stages import stage_kind
from homestretch.errors import HomestretchError, InputError, PeerLost, RecipeError
from homestretch.evaluate import LOWER, evaluate_rows, front_rows, rank_rows, read_rows
from homestretch.locking import alone_in, is_free
from homestretch.metrics import FAILURES, REWARDS, better
from homestretch.metrics.failures import RULES
from homestretch.metrics.front import Covered, Volume
from homestretch.metrics.scorers import LEARNED, available_scorers
from homestretch.metrics.text import TEXT_METRICS
from homestretch.pairing import prompt_of
from homestretch.progress import progress
from homestretch.report.advice import advice
from homestretch.report.comparison_page import write_page
from homestretch.report.names import is_sampled
from homestretch.results import Measured, Results, RunFolder
from homestretch.verbs.costs import record_of
from homestretch.verbs.run import Overrides, as_texts


def compare(
    recipes: Sequence[str | Path] | Mapping[str, Source],
    *,
    out: str | Path,
    seeds: Sequence[int] = (0, 1, 2),
    budget: str | None = None,
    objectives: Sequence[str] = (),
    families: Mapping[str, Sequence[str]] | None = None,
    overrides: Overrides = (),
) -> Compared:
    """Train every recipe with every seed, evaluate them alike, rank them, and write `comparison.json` and the page.

    `recipes`: files or names of shipped ones, or a mapping of names to these, to Recipes or to their values. `budget`:
    `tokens=N`, `samples=N` or `seconds=N` for the stage that each recipe is about; None leaves each its own length.
    `objectives`: two or more metrics, `rewards/NAME` or `failures/NAME`, whose front is computed and drawn; `families`:
    names for groups of methods, whose hypervolumes are compared.
    Stages that recipes share run once a seed. A method that fails is recorded as failed and the others go on; called
    again with the same arguments, what has finished is kept and what failed is tried again. One that failed stays on
    record when it is not named again, as long as its folder is there.

    Raises InputError: recipes that cannot be compared, a metric of the verdict or objectives that they are not measured
    by or that have no better direction, a folder of something else or in which another process is at work, or no method
    that finished.
    """
    methods, evaluation = load_methods(recipes, as_texts(overrides), parse_budget(budget))
    if objectives:
        check_objectives(objectives, evaluation)
    _check_verdict(evaluation)
    folder, seeds = ComparisonFolder(out), list(dict.fromkeys(seeds))
    if not seeds:
        raise InputError("A comparison needs a seed at least, as in `--seeds 0`.")
    _refuse_other(folder, methods, seeds)
    with alone_in(folder.path):
        begun = {"headline_metric": evaluation.metric_for_verdict, "seeds": seeds, "budget": parse_budget(budget)}
        record = _before(folder, methods).model_copy(update=begun)
        record.write(folder.record)
        errors = _train(folder, methods, seeds)
        # A front or arms of the earlier call are not those of this one.
        fresh = Compared(**begun, methods=record.methods)
        record = _measured(fresh, folder, methods, evaluation, errors, objectives, families or {})
        record.write(folder.record)
        write_page(record, folder.report)
    if len(errors) == len(methods):
        name, sentence = next(iter(errors.items()))
        raise InputError(f"No method finished; `{name}` failed: {sentence}")
    return record


def check_objectives(objectives: Sequence[str], evaluation: EvaluateConfig) -> None:
    """Raise RecipeError unless there are two objectives at least, each named once, and the evaluation measures each and
    says which direction is better."""
    if len(set(objectives)) < 2:
        raise RecipeError("A front needs two objectives at least, as in `--objectives la_rougeL,rewards/concise`.")
    if twice := next((key for key in objectives if list(objectives).count(key) > 1), None):
        raise RecipeError(f"The objective `{twice}` is named twice and would count twice; name each once.")
    rewards = [name for name, term in evaluation.rewards.items() if term.weight]
    plain = [*TEXT_METRICS, *(["reward"] if rewards else [])]
    plain += [REWARDS + name for name in rewards] + [FAILURES + name for name in (*RULES, "any")]
    # Scorers load models, so they are made only where an objective may be one of theirs.
    strange = set(objectives) - set(plain)
    learned = available_scorers(evaluation.metrics, bleurt_checkpoint=evaluation.bleurt_checkpoint) if strange else {}
    known = [key for key in (*plain, *learned) if better(key) is not None]
    for key in objectives:
        if key not in known:
            raise RecipeError(
                f"`{key}` can be no objective: it is not measured here, or neither direction is better; "
                f"{nearest(key, known)}"
            )


def _check_verdict(evaluation: EvaluateConfig) -> None:
    """Raise RecipeError for a metric of the verdict that has no better direction, InputError for a learned one that
    cannot be had here."""
    metric = evaluation.metric_for_verdict
    if better(metric) is None:
        raise RecipeError(
            f"`{metric}` ranks no methods: neither direction is better; choose another with "
            "`evaluate.metric_for_verdict=la_rougeL`."
        )
    if learned := {metric, *(evaluation.metrics or ())} & LEARNED:
        available_scorers(learned, bleurt_checkpoint=evaluation.bleurt_checkpoint)


def _refuse_other(folder: ComparisonFolder, methods: Sequence[Method], seeds: Sequence[int]) -> None:
    """Raise InputError for a folder that holds something else, or other recipes under these names, and for a recipe
    that names a model of elsewhere which is not there."""
    from homestretch.training.named_models import check_models
    from homestretch.training.pipeline import refuse_other

    if folder.record.is_file():
        Compared.read(folder.record)
    elif folder.path.exists() and (not folder.path.is_dir() or not is_free(folder.path)):
        raise InputError(f"{folder.path} is not empty and holds no comparison; choose another folder with --out.")
    for method, seed in _runs(methods, seeds):
        refuse_other(folder.run(method.name, seed), method.of_seed(seed))
        check_models(method.of_seed(seed), folder.path)


def _before(folder: ComparisonFolder, methods: Sequence[Method]) -> Compared:
    """The record before anything is trained. What an earlier call has left stays in it, so that a later one that is
    killed loses nothing."""
    record = Compared.read(folder.record) if folder.record.is_file() else Compared()
    done = {name for name, method in record.methods.items() if method.status == "done"}
    begun = {m.name: record_of(m, [], status="running") for m in methods if m.name not in done}
    return record.model_copy(update={"methods": record.methods | begun})


def _runs(methods: Sequence[Method], seeds: Sequence[int]) -> Iterator[tuple[Method, int]]:
    return ((method, seed) for seed in seeds for method in methods)


def _train(folder: ComparisonFolder, methods: Sequence[Method], seeds: Sequence[int]) -> dict[str, str]:
    """Run every method with every seed; gives the sentence of each that failed, which is not tried with later seeds."""
    from homestretch.training.pipeline import run_recipe

    errors: dict[str, str] = {}
    with progress(len(methods) * len(seeds), "compare", "run") as bar:
        for method, seed in _runs(methods, seeds):
            if method.name not in errors:
                others = [folder.run(m.name, seed) for m in methods if m is not method]
                try:
                    run_recipe(method.of_seed(seed), folder.run(method.name, seed).path, others=others)
                except PeerLost:
                    raise
                except Exception as error:  # noqa: BLE001 - one method's bug must not end the others
                    errors[method.name] = _sentence(error, method.name, seed)
            bar.advance(1, now=f"{method.name}, seed {seed}")
    return errors


def _sentence(error: Exception, name: str, seed: int) -> str:
    if not isinstance(error, HomestretchError):
        traceback.print_exception(error)
    text = " ".join(str(error).split()) or "no reason given"
    sentence = text if isinstance(error, HomestretchError) else f"{type(error).__name__}: {text}"
    if ranks.is_first():
        print(f"homestretch: `{name}` failed with seed {seed}: {sentence}", file=sys.stderr)
    return sentence


def _measured(
    record: Compared,
    folder: ComparisonFolder,
    methods: Sequence[Method],
    evaluation: EvaluateConfig,
    errors: Mapping[str, str],
    objectives: Sequence[str],
    families: Mapping[str, Sequence[str]],
) -> Compared:
    """The record with everything that the finished runs say."""
    finished = {m.name: [folder.run(m.name, seed) for seed in record.seeds] for m in methods if m.name not in errors}
    lower = falling(evaluation.rewards)
    rows = [
        row | {"arm": _arm(name, row["arm"]), LOWER: lower} for name, runs in finished.items() for row in raw_rows(runs)
    ]
    failed = {name: m for name, m in record.methods.items() if m.status == "failed" and (folder.path / name).is_dir()}
    records = failed | {
        m.name: record_of(m, [], status="failed", error=errors[m.name])
        if m.name in errors
        else record_of(m, finished[m.name], status="done", seeds=record.seeds, metric=record.headline_metric)
        for m in methods
    }
    record = record.model_copy(update={"methods": records})
    if rows:
        record = record.model_copy(update=_statistics(rows, evaluation, _dataset(finished)))
        if objectives:
            groups = {name: [m for m in there if m in finished] for name, there in families.items()}
            mixed = [name for name in finished if stage_kind(records[name].stage) == "soup"]
            record = record.model_copy(update={"front": front_of(rows, objectives, groups, mixed, evaluation)})
    return record.model_copy(update={"advice": advice(record)})


def _statistics(rows: list[dict[str, Any]], evaluation: EvaluateConfig, dataset: str) -> dict[str, Any]:
    metric = evaluation.metric_for_verdict
    scorers = available_scorers(evaluation.metrics, bleurt_checkpoint=evaluation.bleurt_checkpoint)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    pairs = [(a, b) for b, a in combinations(arms, 2) if is_sampled(a) == is_sampled(b)]
    results = evaluate_rows(
        rows,
        metrics=evaluation.metrics,
        la_rouge=evaluation.la_rouge,
        seed=evaluation.seed,
        learned=scorers,
        comparisons=pairs,
        headline_metric=metric,
    )
    greedy = [row for row in rows if not is_sampled(row["arm"])]
    order, made = rank_rows(greedy, metric, la_rouge=evaluation.la_rouge, seed=evaluation.seed, learned=scorers)
    above = [*made.p_above_next, None]
    places = [Place(method=m, p_best=p, p_above_next=a) for m, p, a in zip(order, made.p_best, above, strict=True)]
    update = {"arms": results.arms, "comparisons": results.comparisons, "dataset": dataset}
    return update | {"ranking": places, "p_order": made.p_order}


def front_of(
    rows: list[dict[str, Any]],
    objectives: Sequence[str],
    families: Mapping[str, Sequence[str]],
    soups: Sequence[str],
    evaluation: EvaluateConfig,
) -> Front:
    """The front of the greedy rows, by arm; what families cover, and what each of the soups adds to the other arms."""
    greedy = [row for row in rows if not is_sampled(row["arm"])]
    scorers = available_scorers(evaluation.metrics, bleurt_checkpoint=evaluation.bleurt_checkpoint)
    prompts = len({prompt_of(row) for row in greedy})

    def found(groups: Mapping[str, Sequence[str]]) -> tuple[list[str], Covered]:
        form, seed = evaluation.la_rouge, evaluation.seed
        return front_rows(greedy, objectives, groups=groups, la_rouge=form, seed=seed, learned=scorers)

    def measured(volume: Volume) -> Measured:
        return Measured(**volume._asdict(), n=prompts, higher_is_better=True)

    groups = {name: there for name, there in families.items() if there}
    names, made = found(groups)
    signs = [-1 if better(key, falling(evaluation.rewards)) is False else 1 for key in objectives]
    trained = [name for name in names if name not in soups]
    # In a call of their own, so that no family has to share its name with them.
    beside = {soup: [*trained, soup] for soup in soups} if trained else {}
    added = found({**beside, "": trained})[1].differences if beside else {}
    return Front(
        objectives=list(objectives),
        members=[name for name, there in zip(names, made.members, strict=True) if there],
        reference={key: sign * value for key, sign, value in zip(objectives, signs, made.reference, strict=True)},
        hypervolume=measured(made.volume),
        families={
            name: Family(methods=list(groups[name]), hypervolume=measured(volume))
            for name, volume in made.groups.items()
        },
        differences=[
            VolumeDifference(a=a, b=b, difference=volume.value, low=volume.low, high=volume.high)
            for (a, b), volume in made.differences.items()
        ],
        soups={soup: measured(added[soup, ""]) for soup in beside},
    )


def raw_rows(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """A method's outputs as its model wrote them, those of all seeds. Raises InputError where they are of two models,
    which would be averaged."""
    rows = [row for run in runs for row in read_rows(run.generations) if row["arm"].split("@")[0].endswith("_raw")]
    if len(arms := sorted({row["arm"].split("@")[0] for row in rows})) > 1:
        raise InputError(
            f"{runs[0].path}: there are outputs of {' and '.join(f'`{arm}`' for arm in arms)}, and a method has "
            "those of one model; choose another folder with --out."
        )
    return rows


def _arm(method: str, arm: str) -> str:
    """`dpo@t1` of `rl_raw@t1`."""
    return method + arm[len(arm.split("@")[0]) :]


def _dataset(finished: Mapping[str, Sequence[RunFolder]]) -> str:
    return Results.read(next(iter(finished.values()))[0].results).dataset
