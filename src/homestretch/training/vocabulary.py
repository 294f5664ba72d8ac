"""How many tokens models of one tokenizer share."""

from __future__ import annotations

from homestretch.config.distill import DistillConfig
from homestretch.errors import InputError, RecipeError
from homestretch.policies.policy import Policy
from homestretch.training.context import Context


def shared_vocabulary(context: Context, config: DistillConfig, student: Policy, teacher: Policy) -> int:
    """Tokens that both models have logits for; one of them may be padded to a larger width.

    Raises InputError where one has none for a token of their tokenizer, RecipeError where `top_k` leaves none out.
    """
    for policy, name in ((teacher, config.teacher_name_or_path), (student, context.recipe.model_name_or_path)):
        check_width(context, policy, name)
    width = min(student.vocabulary, teacher.vocabulary)
    if config.top_k >= width:
        raise RecipeError(
            f"distill.top_k {config.top_k} leaves none of {width} tokens out; set it to 0, which learns all of them."
        )
    return width


def check_width(context: Context, policy: Policy, name: str) -> None:
    """Raise InputError unless the model has a logit for each token of the run's tokenizer."""
    last = max(context.tokenizer.get_vocab().values())
    if last >= policy.vocabulary:
        raise InputError(
            f"`{name}` has logits for {policy.vocabulary:,} tokens, and its tokenizer has ids up to {last:,}: enlarge "
            "the model with `resize_token_embeddings` and save it again, or name another."
        )
