"""The lab of teacher hacking: an oracle, a teacher that learnt from it, and students that learn from the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from homestretch.config.lab import Case, LabOverrides, cases, check_free, distill_recipe
from homestretch.config.recipe import Recipe
from homestretch.config.yaml import dump_text, load_text
from homestretch.errors import InputError
from homestretch.lab import Hacking, LabFolder
from homestretch.locking import alone_in, is_free
from homestretch.progress import progress
from homestretch.report.lab_page import write_page
from homestretch.verbs.lab_materials import (
    NAMES,
    Bench,
    check_given,
    dataset_settings,
    learners,
    oracle_of,
    others_of,
    prepare,
)
from homestretch.verbs.lab_record import record_of
from homestretch.verbs.run import Overrides, as_texts
from homestretch.writing import write_text


def teacher_hacking(
    data: str | Path = "builtin/docstrings",
    *,
    out: str | Path,
    oracle: str | Path | None = None,
    teacher: str | Path | None = None,
    student: str | Path | None = None,
    tokenizer: str | Path | None = None,
    sweeps: Sequence[str] = ("sources",),
    seeds: Sequence[int] = (0, 1, 2),
    overrides: Overrides = (),
) -> Hacking:
    """Distil students in several ways and measure how far they are from the teacher (proxy) and the oracle (golden).

    `data`: pairs, whose prompts are used, and from which an oracle is trained where none is given. `oracle`,
    `teacher`, `student`: three models of one tokenizer; or an oracle alone, taken as it is, and the others start from
    nothing with its tokens; or none, and `tokenizer` is that of a model instead of one that is learnt from the data.
    `sweeps`: `sources`, `prompts`, `generations`, `loss`.
    `overrides`: see `config.lab`. Called again with the same arguments it goes on where it stopped; with other sweeps
    or seeds, what they share with those before is kept. Writes `lab.json` and `lab.html`. Raises InputError, also where
    another process is at work in the folder.
    """
    given = {name: str(m) for name, m in zip(NAMES, (oracle, teacher, student), strict=True) if m is not None}
    if list(given) not in ([], ["oracle"], list(NAMES)):
        missing = " and ".join(f"--{name}" for name in NAMES if name not in given)
        raise InputError(
            f"The lab takes three models, an oracle alone or none, and {missing} is missing; give it, or leave the "
            "others away."
        )
    if given and tokenizer is not None:
        raise InputError("The models have a tokenizer of their own; leave `--tokenizer` away.")
    if not seeds:
        raise InputError("The lab needs a seed at least, as in `--seeds 0`.")
    asked = LabOverrides.of(as_texts(overrides))
    if given and asked.oracle:
        raise InputError("The oracle is given and not trained; leave the settings `oracle.` away, or `--oracle`.")
    dataset = dataset_settings(str(data), asked.shared, scratch="student" not in given)
    bench = Bench(LabFolder(out), asked, dataset, given, None if tokenizer is None else str(tokenizer))
    chosen, seeds = cases(sweeps), list(dict.fromkeys(seeds))
    check_free(chosen, asked.distill)
    _check_settings(bench, chosen, seeds[0])
    text = _refuse_other(bench)
    with alone_in(bench.folder.path):
        write_text(bench.folder.asked, text)
        if given:
            check_given(bench)
        description = prepare(bench)
        _train(bench, chosen, seeds)
        models = _in_words(bench, seeds[0])
        record = record_of(bench.folder, chosen, asked.lab, seeds=seeds, dataset=description, models=models)
        record.write(bench.folder.record)
        write_page(record, bench.folder.report)
    return record


def _check_settings(bench: Bench, chosen: Mapping[str, Case], seed: int) -> None:
    """Raise InputError for settings that a recipe of the lab, the last one perhaps, would be refused for."""
    if bench.scratch and bench.asked.lab.oracle_prompts == 0:
        raise InputError(
            "lab.oracle_prompts=0 takes teacher and student as they are, which must then be given; name three models "
            "with --oracle, --teacher and --student."
        )
    if "oracle" not in bench.given:
        bench.oracle_recipe()
    for name in NAMES[1:]:
        bench.learner_recipe(name, seed)
    for case in chosen.values():
        _distillation(bench, case, seed, *NAMES)  # their paths are not known yet


def _refuse_other(bench: Bench) -> str:
    """What is asked, as text. Raises InputError for a folder that holds something else, or a lab of other settings."""
    folder, asked = bench.folder, bench.asked.model_dump(mode="json")
    known = {"data": bench.dataset.model_dump(mode="json"), "models": bench.given, "tokenizer": bench.tokenizer}
    text = dump_text({**known, **asked})
    if folder.asked.is_file():
        if load_text(folder.asked.read_text("utf-8"), name=str(folder.asked)).values != load_text(text, name="").values:
            raise InputError(
                f"{folder.path} holds a lab of other data, models or settings; choose another folder with --out."
            )
    elif folder.path.exists() and (not folder.path.is_dir() or not is_free(folder.path)):
        raise InputError(f"{folder.path} is not empty and holds no lab; choose another folder with --out.")
    return text


def _train(bench: Bench, chosen: Mapping[str, Case], seeds: Sequence[int]) -> None:
    """Run every case with every seed; what has been run before is kept."""
    from homestretch.training.pipeline import run_recipe

    oracle = oracle_of(bench)
    with progress(len(chosen) * len(seeds), "lab", "run") as bar:
        for seed in seeds:
            teacher, student = learners(bench, oracle, seed)
            for name, case in chosen.items():
                recipe = _distillation(bench, case, seed, oracle, teacher, student)
                others = others_of(bench.folder, seed, name)
                run_recipe(recipe, bench.folder.run(name, seed).path, others=others)
                bar.advance(1, now=f"{name}, seed {seed}")


def _distillation(bench: Bench, case: Case, seed: int, oracle: str, teacher: str, student: str) -> Recipe:
    """One case with these models, on the second set of prompts or a share of it that is drawn from the seed."""
    most = max(bench.asked.lab.distill_prompts // case.divide, 1)
    prompts = bench.dataset_of("second") | ({"max_train": most} if case.divide > 1 else {})
    return distill_recipe(
        student,
        prompts,
        case,
        bench.asked.lab,
        oracle=oracle,
        teacher=teacher,
        scratch=bench.scratch,
        seed=seed,
        overrides=[*bench.device, *bench.asked.distill],
    )


def _in_words(bench: Bench, seed: int) -> dict[str, str]:
    """The given models by their names, those that start from nothing by their sizes."""
    from homestretch.policies.shape import model_shape

    words = {}
    for name in NAMES:
        if name in bench.given:
            words[name] = bench.given[name]
            continue
        shape = model_shape(str(bench.folder.untrained(name, 0 if name == "oracle" else seed)))
        words[name] = f"{shape.parameters:,} parameters in {shape.layers} layers of width {shape.hidden}, from nothing"
    return words
