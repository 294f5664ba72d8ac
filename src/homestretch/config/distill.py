"""Settings of the stage `distill`: a student learns a teacher's next-token laws.

distill:
  teacher_name_or_path: runs/teacher/model        # a model of the same tokenizer
  source: {online_student: 0.5, data: 0.5}        # texts to learn on; one name stands for a share of 1
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from homestretch.config.training import TrainingConfig

Source = Literal["data", "offline", "online_teacher", "online_student"]
ONLINE: tuple[Source, ...] = ("online_teacher", "online_student")
TEACHERS_TEXTS: tuple[Source, ...] = ("offline", "online_teacher")
TOLERANCE = 1e-6
BELONGS = {
    "beta": (("jsd",), "the others have no such weight"),
    "top_k": (("forward_kl",), "a student could lower the others by tokens that the teacher's list leaves out"),
    "loss_temperature": (("forward_kl", "reverse_kl", "jeffreys", "jsd"), "`sequence` compares no laws"),
}
"""Settings that some divergences read: those, and why the others do not."""


def _one(source: Any) -> Any:
    return {source: 1.0} if isinstance(source, str) else source


def _shares(source: dict[Source, float]) -> dict[Source, float]:
    if abs(sum(source.values()) - 1) > TOLERANCE:
        raise ValueError(f"the shares sum to {sum(source.values()):g}; make them sum to 1")
    return source


Share = Annotated[float, Field(gt=0, le=1)]


class DistillConfig(TrainingConfig):
    """A student comes near to a teacher of the same tokenizer, token by token, on texts of either or of the data
    (Hinton et al. 2015, Kim and Rush 2016, Agarwal et al. 2024, Tiapkin et al. 2025)."""

    learning_rate: float = Field(3e-4, gt=0)
    """Peak step size. Origin: paper, for all weights of T5; ours for LoRA in other stages is as large."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the step size after warm-up. Origin: sheet 3."""
    train_batch_size: PositiveInt = 32
    """Texts of one optimiser step. Origin: paper."""
    teacher_name_or_path: str = Field(min_length=1)
    """The teacher: a folder in Hugging Face format or a name on the Hub, of the tokenizer of the recipe's model."""
    oracle_name_or_path: str | None = None
    """The model that the teacher was made from, of the same tokenizer. The distances of student to oracle and teacher
    on fixed texts of theirs are then logged at each validation; the student does not learn from it. Origin: paper."""
    divergence: Literal["forward_kl", "reverse_kl", "jeffreys", "jsd", "sequence"] = "forward_kl"
    """How far the student's law of the next token is from the teacher's; `sequence` is the negative log-likelihood of
    the teacher's texts instead. Origin: paper (forward_kl)."""
    beta: float = Field(0.5, ge=0, le=1)
    """Weight of the teacher in `jsd`; 0 is forward_kl and 1 is reverse_kl. Origin: Agarwal et al. (one of theirs)."""
    top_k: NonNegativeInt = 0
    """Learn the teacher's k most probable tokens one by one and all others as one; 0 learns every token. With texts
    that do not change, these laws are computed once and kept. For forward_kl alone. Origin: the paper has all."""
    keep_states: bool = False
    """Keep the teacher's state before each token of texts that do not change (its width times 4 bytes a token, in
    memory and on disk), so that it reads them once and its head alone is asked in each step: exact laws of all tokens.
    With `top_k` the laws themselves are kept, which is smaller. Origin: ours."""
    loss_temperature: float = Field(1.0, gt=0)
    """Both laws are compared at this temperature, and the loss is multiplied by its square, so that the step size may
    stay. Origin: Hinton et al.; the paper has 1."""
    source: Annotated[dict[Source, Share], BeforeValidator(_one), AfterValidator(_shares)] = {"offline": 1.0}
    """Where texts come from, one name or shares that sum to 1, by which each text of a batch is drawn: `offline`, texts
    that the teacher writes once; `online_teacher` and `online_student`, texts that the teacher or the student writes
    anew in each step; `data`, the data's own. Over several passes an offline student may go on towards the teacher and
    away from what both should learn (arXiv:2502.02671): online texts do not repeat. Origin: the paper's baseline, which
    in one pass is `online_teacher`."""
    num_generations: PositiveInt = 1
    """Texts of each prompt in a pass over the data; more of them help too. Origin: paper."""
    temperature: float = Field(1.0, gt=0)
    """Temperature at which texts are sampled; the loss has one of its own. Origin: paper."""
    reduction: Literal["token", "sequence"] = "token"
    """Mean over all tokens, or over texts of the sums over their tokens, which wants a smaller step size. Origin: sheet
    2.6."""

    @property
    def samples_online(self) -> bool:
        """Whether there are texts that are written while the student learns."""
        return any(name in self.source for name in ONLINE)

    @property
    def keeps_laws(self) -> bool:
        """Whether the teacher reads texts once: they do not change, and what it says of each token is kept."""
        return (self.top_k > 0 or self.keep_states) and not self.samples_online

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher, or its head at least, is needed in each step, beside what it has written or said."""
        said = self.divergence == "sequence" or (self.top_k > 0 and not self.samples_online)
        return "online_teacher" in self.source or not said

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, (kinds, why) in BELONGS.items():
            if self.divergence not in kinds:
                self.refuse_unread([name], f"is read with {' or '.join(kinds)} alone, since {why}; remove it")
        if self.keep_states and (self.samples_online or self.top_k or self.divergence == "sequence"):
            why = "texts are written anew" if self.samples_online else "no states are compared"
            if self.top_k:
                why = "top_k keeps the laws themselves"
            raise ValueError(f"`keep_states` has no effect here: {why}; remove it")
        if self.divergence == "sequence" and "online_student" in self.source:
            raise ValueError(
                "`sequence` makes texts more probable, and the student's own are so already; leave online_student out "
                "of `source`, or take another divergence"
            )
        if self.divergence == "sequence" and not any(name in self.source for name in TEACHERS_TEXTS):
            raise ValueError(
                "`sequence` on the data's own texts asks no teacher; use the stage `sft`, or give `source` a share of "
                "offline or online_teacher"
            )
        if set(self.source) == {"data"}:
            why = "has no effect here: the data's own texts are not sampled; remove it"
            self.refuse_unread(("num_generations", "temperature"), why)
        return self
