"""What a recipe asks of its data, checked before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from homestretch.config.recipe import Recipe
from homestretch.config.stages import COLUMNS
from homestretch.data.records import Example
from homestretch.errors import DataError, RecipeError

REMEDIES = {
    "reward": "map a column with dataset.columns.reward=ITS_NAME, put a stage `reward` before it, or set "
    "`reward_model_name_or_path`",
    "rejected": "map columns with dataset.columns, or put a stage `negatives` before it",
}
WHAT = {"reward": "rewards of the stored responses", "rejected": "pairs of a better and a worse response"}


def check_needs(recipe: Recipe, examples: Sequence[Example]) -> None:
    """Raise RecipeError for a stage whose column neither the training rows have nor an earlier stage makes, and
    DataError where only some rows have it."""
    made = {"reward"} if recipe.reward_model_name_or_path else set()
    for stage in recipe.stages:
        column, maker = COLUMNS.get(stage.kind, (None, None))
        lacking = [] if column is None else [e for e in examples if column not in e.columns]
        if column is not None and maker not in made and len(lacking) == len(examples):
            raise RecipeError(
                f"The stage `{stage.name}` needs {WHAT[column]}, and the data have no column `{column}`; "
                f"{REMEDIES[column]}."
            )
        if 0 < len(lacking) < len(examples):
            raise DataError(
                f"{lacking[0].where}: the row has no `{column}` although others have one; "
                "give every training row one, or none."
            )
        if column == "rejected" or stage.kind == "negatives":
            refuse_equal([e for e in examples if "rejected" in e.columns])
        made.add(stage.kind)


def refuse_equal(pairs: Sequence[Example]) -> None:
    """Raise DataError for a pair whose better response is its worse one."""
    for e in pairs:
        if e.columns["rejected"] == e.completion:
            raise DataError(f"{e.where}: `chosen` and `rejected` are the same text; correct the row, or leave it out.")
