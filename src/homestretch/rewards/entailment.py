"""A classifier of natural language inference (NLI) as the probability that one sentence entails another."""

from __future__ import annotations

import torch

from homestretch.errors import RecipeError
from homestretch.policies.load import load_config
from homestretch.rewards.sentence_features import Entailment
from homestretch.rewards.sequence_classifier import load_sequence_classifier


def load_entailment(name: str, device: torch.device | str = "cpu") -> Entailment:
    """The model by folder or Hub name. Raises InputError where there is none, RecipeError where it has not one class
    whose name begins with `entail`."""
    classes = {int(i): str(text) for i, text in (load_config(name).id2label or {}).items()}
    found = [i for i, text in classes.items() if text.lower().startswith("entail")]
    if len(found) != 1:
        raise RecipeError(
            f"The model `{name}` has no class of entailment (it has {', '.join(f'`{c}`' for c in classes.values())}); "
            "name one that was trained on natural language inference."
        )
    classifier = load_sequence_classifier(name, label=found[0], reads="pair", device=device)

    def probabilities(pairs: list[tuple[str, str]]) -> list[float]:
        log_odds = classifier([premise for premise, _ in pairs], [hypothesis for _, hypothesis in pairs])
        return torch.tensor(log_odds).sigmoid().tolist()

    return probabilities
