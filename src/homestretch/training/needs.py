"""What a recipe asks of its data and of the user's functions, checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from homestretch.config.best_of import BestOfConfig
from homestretch.config.evaluate import EvaluateConfig
from homestretch.config.recipe import Recipe, Stage
from homestretch.config.rewards import MODEL, RewardTerm
from homestretch.config.rollouts import RolloutConfig
from homestretch.config.stages import COLUMNS
from homestretch.data.records import Example, completion_text, side
from homestretch.data.sources import Splits
from homestretch.errors import DataError, InputError, RecipeError
from homestretch.rewards.features import read_features
from homestretch.rewards.functions import load_function
from homestretch.rewards.local import needed_models
from homestretch.rewards.model import read_description
from homestretch.rewards.named import Column, ask

REMEDIES = {
    "reward": "map a column with dataset.columns.reward=ITS_NAME, name a reward with the stage's `rewards`, put a "
    "stage `reward` before it, or set `reward_model_name_or_path`",
    "rejected": "map columns with dataset.columns, or put a stage `negatives` before it",
}
WHAT = {"reward": "rewards of the stored responses", "rejected": "pairs of a better and a worse response"}


def check_needs(recipe: Recipe, splits: Splits) -> None:
    """Raise RecipeError for a stage whose column neither the training rows have nor an earlier stage makes, and for a
    reward that is not there; DataError where only some rows have the column, or one the named part of it; InputError
    where there is nothing to evaluate on."""
    made = {"reward"} if recipe.reward_model_name_or_path else set()
    for stage in recipe.stages:
        if isinstance(stage.config, EvaluateConfig) and not splits.test:
            raise InputError(
                f"The stage `{stage.name}` has no test rows to measure on: name the data's own with "
                "dataset.split.test=NAME, give three different prompts or more, of which one is cut off, or leave the "
                "stage out."
            )
        if stage.kind in COLUMNS and not stage.config.names_rewards:
            check_column(stage, made, splits.train)
        check_rewards(stage, made, [*splits.train, *splits.validation])
        made.add(stage.kind)


def check_column(stage: Stage, made: set[str], examples: Sequence[Example]) -> None:
    """Raise RecipeError unless the rows have the stage's column or an earlier stage makes it, DataError where only some
    rows have it."""
    column, maker = COLUMNS[stage.kind]
    lacking = [e for e in examples if column not in e.columns]
    if maker not in made and len(lacking) == len(examples):
        raise RecipeError(
            f"The stage `{stage.name}` needs {WHAT[column]}, and the data have no column `{column}`; "
            f"{REMEDIES[column]}."
        )
    if 0 < len(lacking) < len(examples):
        raise DataError(
            f"{lacking[0].where}: the row has no `{column}` although others have one; "
            "give every training row one, or none."
        )


def check_rewards(stage: Stage, made: set[str], examples: Sequence[Example]) -> None:
    """Raise RecipeError unless the rewards that the stage names are there: functions, packaged models, columns of the
    rows, and the run's reward model."""
    terms: Mapping[str, RewardTerm] = getattr(stage.config, "rewards", {})
    for name, term in terms.items():
        if name == MODEL and "reward" not in made:
            raise RecipeError(
                f"The stage `{stage.name}` names the reward `{MODEL}`, and there is no reward model: put a stage "
                "`reward` before it, or set `reward_model_name_or_path`."
            )
        if term.function is not None:
            load_function(name, term.function)
        if term.reward_model is not None:
            read_description(Path(term.reward_model))
        features: list[RewardTerm] = []
        if term.features is not None:
            features = list(read_features(term.features)[0].features.values())
            of_samples = isinstance(stage.config, RolloutConfig | EvaluateConfig | BestOfConfig)
            if of_samples and any(f.column for f in features):
                raise RecipeError(
                    f"The stage `{stage.name}`: the reward `{name}` has features that are columns of the data, which "
                    "say nothing about what a model writes; fit one on rewards that read the text."
                )
        for extractor in [part.local for part in [term, *features] if part.local is not None]:
            needed_models(extractor)
        if term.column is not None:
            check_numbers(name, term.column, _answers(stage, examples))


def check_numbers(name: str, column: str, answers: Sequence[Example]) -> None:
    """Raise InputError unless every answer has a finite number in the column that a reward reads."""
    ask(Column(name, column), answers, [completion_text(e) for e in answers], [True] * len(answers))


def _answers(stage: Stage, examples: Sequence[Example]) -> Sequence[Example]:
    """What the stage's rewards are asked of: the rows, or both sides of pairs. Raises RecipeError."""
    if COLUMNS.get(stage.kind, ("", ""))[0] != "rejected":
        return examples
    if any("rejected" not in e.columns for e in examples):
        raise RecipeError(
            f"The stage `{stage.name}` names a column as a reward, which made failures do not have: give rows with "
            "`rejected`, `chosen_rewards` and `rejected_rewards`, or name a rule, a function or a classifier."
        )
    return [side(e, name) for name in ("chosen", "rejected") for e in examples]


def row_check(recipe: Recipe, lengths: Callable[[Example], None]) -> Callable[[Example], None]:
    """What makes a row a bad one for this recipe, as DataError: its lengths, where nothing is cut, and a pair whose
    better response is its worse one, where pairs are learned from."""
    paired = any(
        stage.kind == "negatives" or COLUMNS.get(stage.kind, ("", ""))[0] == "rejected" for stage in recipe.stages
    )

    def check(example: Example) -> None:
        if paired and "rejected" in example.columns:
            refuse_equal(example)
        if not recipe.dataset.truncate:
            lengths(example)

    return check


def refuse_equal(pair: Example) -> None:
    """Raise DataError for a pair whose better response is its worse one."""
    if pair.columns["rejected"] == pair.completion:
        raise DataError(
            f"{pair.where}: `chosen` and `rejected` are the same text; correct the row, or leave such rows out with "
            "on_bad_row=skip."
        )
