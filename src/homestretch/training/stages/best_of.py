"""Stage `best_of`: nothing is trained; what the model is evaluated by is the best of several samples.

`model/` in the stage's folder is the current model as it was, and `samples/` what was drawn for the test prompts.
"""

from __future__ import annotations

from pathlib import Path

from homestretch.config.best_of import BestOfConfig
from homestretch.training.context import Context
from homestretch.training.export import link_tree, save_model


def run(context: Context, config: BestOfConfig, folder: Path) -> None:
    """Keep the current model."""
    # The recipe's model may be a name; stages before this one may have trained none.
    if context.model == context.recipe.model_name_or_path:
        save_model(context.load_trunk(), None, context.tokenizer, folder / "model")
    else:
        link_tree(Path(context.model), folder / "model")
