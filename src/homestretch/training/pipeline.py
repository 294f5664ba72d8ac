"""The stages of a recipe, run in order; a stage whose inputs have not changed is not run twice."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from homestretch import ranks
from homestretch.algorithms.ift import IFT
from homestretch.algorithms.sft import SFT
from homestretch.collectives import from_first, wait
from homestretch.config.distill import DistillConfig
from homestretch.config.recipe import Recipe, Stage, dump, load_recipe
from homestretch.config.stages import TRAINS_POLICY, stage_kind
from homestretch.data.sources import Splits, load
from homestretch.errors import InputError
from homestretch.locking import alone_in, is_free
from homestretch.policies.load import choose_device, resolve
from homestretch.policies.memory import peak, start_peak, steady_heap
from homestretch.progress import say
from homestretch.results import Environment, RunFolder, StageFolder, StageRecord
from homestretch.rewards.cache import model_key
from homestretch.rewards.model import read_description
from homestretch.rewards.remembered import contents
from homestretch.seeds import fold
from homestretch.training.card import write_card
from homestretch.training.context import Context, set_threads
from homestretch.training.export import link_tree
from homestretch.training.loop import Progress
from homestretch.training.named_models import check_models, named_models
from homestretch.training.needs import check_needs, row_check
from homestretch.training.publish import check_token, publish
from homestretch.training.stages import (
    alol,
    best_of,
    distill,
    dpo,
    evaluate,
    grpo,
    likelihood,
    modpo,
    negatives,
    ppo,
    report,
    reward,
    rloo,
    soup,
    value,
    weighted,
)
from homestretch.training.tracking import check_tracker
from homestretch.writing import clear_parts, write_text

STAGE_FUNCTIONS: dict[str, Callable[..., Progress | None]] = {
    "sft": likelihood.stage(lambda config: SFT()),
    "ift": likelihood.stage(IFT),
    "negatives": negatives.run,
    "reward": reward.run,
    "wbc": weighted.run,
    "gold": weighted.run,
    "value": value.run,
    "alol": alol.run,
    "dpo": dpo.run,
    "modpo": modpo.run,
    "ppo": ppo.run,
    "rloo": rloo.run,
    "grpo": grpo.run,
    "distill": distill.run,
    "soup": soup.run,
    "best_of": best_of.run,
    "evaluate": evaluate.run,
    "report": report.run,
}
LOOKS = {"evaluate", "report"}
"""Stages that only look at results."""
EMPTY = Splits(train=[], validation=[], test=[], description="")
PACKAGES = ("homestretch", "torch", "transformers", "accelerate", "peft", "datasets", "safetensors")


def run_recipe(recipe: Recipe, out: str | Path, *, others: Sequence[RunFolder] = ()) -> RunFolder:
    """Run (or finish) a recipe in the folder `out`.

    Started again with the same recipe it continues where it was killed, to the same bits. A stage that one of the
    `others` has finished on the same inputs is taken over from there. Raises InputError when the folder belongs to
    another recipe or data, or another process is at work in it.
    """
    run = RunFolder(out)
    device = choose_device(recipe.device)
    model = recipe.model_name_or_path
    resolve(model)  # a built-in model that is not installed is told of before any data is read
    context = Context(recipe=recipe, run=run, splits=EMPTY, model=model, device=device, others=others)
    check_tracker(recipe.report_to)
    if recipe.push_to_hub:
        check_token()
    if ranks.is_first() and not run.recipe.is_file() and not is_free(run.path):
        raise InputError(f"{run.path} is not empty and holds no run; choose another folder with --out.")
    with alone_in(run.path):
        _run_stages(context)
    return run


def _run_stages(context: Context) -> None:
    """Make the folder this recipe's, and do what is still to be done in it."""
    recipe, run = context.recipe, context.run
    if ranks.is_first():
        refuse_other(run, recipe)
        clear_parts(run.path)
        write_text(run.recipe, dump(recipe))
    set_threads()
    steady_heap()
    write_environment(run, recipe)
    context.splits = splits = _load_data(context)
    check_needs(recipe, splits)
    check_models(recipe, run.path)
    for stage in recipe.stages:
        if isinstance(stage.config, DistillConfig):
            distill.check_references(context, stage.config, own=run.path)
    chain = fingerprint(recipe, splits)
    seen = chain
    for number, stage in enumerate(recipe.stages, start=1):
        # Nothing but what looks at results hangs on how results were looked at before.
        before = seen if stage.kind in LOOKS else chain
        inputs = str(fold("stage", before, stage.name, stage.config.model_dump_json(), *outside(stage, recipe.seed)))
        chain, seen = chain if stage.kind in LOOKS else inputs, str(fold("seen", seen, inputs))
        _run_stage(context, stage, run.stage(number, stage.name), inputs)
    _finish(context)


def refuse_other(run: RunFolder, recipe: Recipe) -> None:
    """Raise InputError for a folder with stages of another recipe."""
    # A run that failed before its first stage, on bad data say, has nothing to lose.
    if run.recipe.is_file() and run.stage_folders() and _identity(load_recipe(run.recipe)) != _identity(recipe):
        raise InputError(
            f"{run.path} holds a run of another recipe; choose another folder with --out, or delete this one."
        )


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What makes two recipes the same run: everything but stages that only look at results."""
    values = recipe.model_dump(mode="json", exclude={"output_dir", "report_to", "push_to_hub", "hub_model_id"})
    values["stages"] = [s for s in values["stages"] if not LOOKS & {stage_kind(name) for name in s}]
    return values


def _load_data(context: Context) -> Splits:
    data = context.recipe.dataset
    splits = load(
        data.name,
        columns=data.columns,
        prompt_suffix=data.prompt_suffix,
        split=data.split,
        on_bad_row=data.on_bad_row,
        rejected=context.run.path / "rejected.jsonl",
        seed=context.recipe.seed,
        max_train=data.max_train,
        max_validation=data.max_validation,
        max_test=data.max_test,
        check=row_check(context.recipe, context.length_check()),
    )
    say(splits.description)
    if data.truncate:
        rows = [*splits.train, *splits.validation, *splits.test]
        tokens = context.tokens(rows, is_encoder_decoder=bool(context.config.is_encoder_decoder))
        if cut := sum(row.truncated for row in tokens):
            say(f"{cut:,} of {len(rows):,} rows are cut to dataset.max_prompt_length or max_completion_length.")
    return splits


def fingerprint(recipe: Recipe, splits: Splits) -> str:
    """Changes when the model, the reward model of the recipe, the data or the shared settings change."""
    shared = recipe.model_dump_json(exclude={"stages", "output_dir", "report_to", "push_to_hub", "hub_model_id"})
    texts = [
        repr((e.id, e.prompt, e.completion, e.references, e.source, sorted(e.columns.items())))
        for s in (splits.train, splits.validation, splits.test)
        for e in s
    ]
    models = [model_key(recipe.model_name_or_path, revision=recipe.model_revision)]
    if recipe.reward_model_name_or_path is not None:
        read_description(Path(recipe.reward_model_name_or_path))  # what is none is told of in a sentence of its own
        models.append(model_key(recipe.reward_model_name_or_path))
    return str(fold("run", shared, *models, *texts))


def outside(stage: Stage, seed: int) -> list[str]:
    """What a stage reads beside the run's own files is made of: the user's functions, and folders that it names."""
    terms = [term for name in ("rewards", "golden") for term in getattr(stage.config, name, {}).values()]
    folders = named_models(stage.config, seed)
    if isinstance(stage.config, DistillConfig):
        folders += [stage.config.teacher_name_or_path, *filter(None, [stage.config.oracle_name_or_path])]
    return [key for term in terms for key in contents(term)] + [model_key(folder) for folder in folders]


def _run_stage(context: Context, stage: Stage, folder: StageFolder, inputs: str) -> None:
    # What looks at results writes beside the stages too.
    others = [] if stage.kind in LOOKS else context.others
    if not from_first(ranks.is_first() and (_is_done(folder, inputs) or _taken_over(folder, inputs, others))):
        _execute(context, stage, folder, inputs)
        wait()
    context.finished[stage.name] = folder.path
    if stage.kind in TRAINS_POLICY:
        context.model = str(folder.model)


def _is_done(folder: StageFolder, inputs: str) -> bool:
    """Whether the stage has been run on these inputs; its folder is there afterwards, without what others left."""
    record = StageRecord.read(folder.record) if folder.record.is_file() else None
    if record is None or record.inputs.get("hash") != inputs:
        # Without a record nobody knows what the rest was made of: a process that was deleting it may have been killed.
        if folder.path.exists():
            shutil.rmtree(folder.path)
        folder.path.mkdir(parents=True)
        return False
    return record.status == "done"


def _taken_over(folder: StageFolder, inputs: str, others: Sequence[RunFolder]) -> bool:
    """Whether another run has finished the stage on these inputs; the folder then holds what it made."""
    for run in others:
        for stage in run.stage_folders():
            record = StageRecord.read(stage.record)
            if record.status == "done" and record.inputs.get("hash") == inputs:
                link_tree(stage.path, folder.path)
                return True
    return False


def _execute(context: Context, stage: Stage, folder: StageFolder, inputs: str) -> None:
    common = {"name": stage.name, "inputs": {"hash": inputs}}
    StageRecord(**common, status="running").write(folder.record)
    start_peak(context.device)
    started = time.monotonic()
    try:
        progress = STAGE_FUNCTIONS[stage.kind](context, stage.config, folder.path)
    except Exception as error:
        StageRecord(**common, status="failed", error=str(error)).write(folder.record)
        raise
    StageRecord(
        **common,
        status="done",
        # What was trained before the run was stopped and started again counts too.
        seconds=max(time.monotonic() - started, progress.seconds if progress else 0.0),
        tokens=progress.tokens if progress else None,
        samples=progress.samples if progress else None,
        peak_memory_bytes=peak(context.device),
    ).write(folder.record)


def _finish(context: Context) -> None:
    """The final model at the top of the run, with its card."""
    source = Path(context.model)
    if not source.is_dir() or not source.is_relative_to(context.run.path) or not ranks.is_first():
        return
    link_tree(source, context.run.model)
    write_card(context)
    if context.recipe.push_to_hub:
        publish(context.run.model, context.recipe.hub_model_id or context.run.path.name)


def write_environment(run: RunFolder, recipe: Recipe) -> None:
    """Versions, hardware and seeds beside the results."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    hardware = {
        "processor": platform.processor() or platform.machine(),
        "cores": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    Environment(versions=versions, hardware=hardware, seeds={"seed": recipe.seed}, command=sys.argv).write(
        run.environment
    )
