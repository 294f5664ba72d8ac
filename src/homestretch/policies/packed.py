"""Hidden states of a causal model, one row for each prompt with all its responses (`ops.packing`).

Only a model that does what it is told about masks and positions can be read so. Some ignore one of them without a word
(ALiBi counts columns, a state-space model knows no masks), so each model is tried once on a few tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homestretch.batch import SequenceBatch
from homestretch.ops.packing import pack
from homestretch.policies.rows import decoder_of, joined_hidden, shared_rows

TAKES_MASKS = ("eager", "sdpa")
"""Attention implementations that take any mask; the others know causal ones alone."""
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3}
LOW_PRECISION_TOLERANCE = 0.05

_PACKS: WeakKeyDictionary[PreTrainedModel, dict[str, bool]] = WeakKeyDictionary()


def packs(lm: PreTrainedModel) -> bool:
    """Whether packed rows give the states of separate ones; found out once for a model and its attention."""
    attention = lm.config._attn_implementation
    if attention not in TAKES_MASKS or windows(lm) is None:
        return False
    known = _PACKS.setdefault(lm, {})
    if attention not in known:
        known[attention] = _agrees(lm)
    return known[attention]


def windows(lm: PreTrainedModel) -> dict[str, int | None] | None:
    """Attention window of each kind of layer, None where it sees everything; None for kinds that are not known here."""
    config = lm.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    slides = window is not None and getattr(config, "use_sliding_window", True)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if slides else "full_attention"]
    known = {"full_attention": None, "sliding_attention": window}
    return {kind: known[kind] for kind in kinds} if set(kinds) <= known.keys() else None


def packed_hidden(lm: PreTrainedModel, batch: SequenceBatch) -> Tensor:
    """Hidden states (B, S, D) of a batch, S = T + 1, rows that share a prompt packed behind it."""
    first_U, row_B = batch.distinct_prompts
    packed = pack(batch.prompt_ids_BP[first_U], batch.prompt_mask_BP[first_U], batch.ids_BT, batch.mask_BT, row_B)

    hidden_ULD = decoder_of(lm)(
        input_ids=packed.ids_UL,
        attention_mask=attention_masks(lm, packed.visible_U1LL),
        position_ids=packed.position_UL,
        use_cache=False,
    ).last_hidden_state
    place_BS = packed.row_B[:, None] * hidden_ULD.shape[1] + packed.state_BS
    return shared_rows(hidden_ULD.flatten(0, 1), place_BS.flatten()).unflatten(0, place_BS.shape)


def attention_masks(lm: PreTrainedModel, visible: Callable[[int | None], Tensor]) -> Tensor | dict[str, Tensor]:
    """What a model of `windows` takes as its mask: `visible` of an attention window is True where a query (dimension 2)
    may see a key (dimension 3)."""

    def mask(window: int | None) -> Tensor:
        seen = visible(window)
        if lm.config._attn_implementation == "sdpa":
            return seen
        return torch.zeros_like(seen, dtype=lm.dtype).masked_fill(~seen, torch.finfo(lm.dtype).min)

    masks = {kind: mask(window) for kind, window in (windows(lm) or {}).items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


@torch.no_grad()
def _agrees(lm: PreTrainedModel) -> bool:
    ids_N = torch.arange(1, 17, device=lm.device) % lm.config.get_text_config().vocab_size
    trial = SequenceBatch(
        prompt_ids_BP=ids_N[:4].expand(2, -1),
        prompt_mask_BP=torch.ones_like(ids_N[:4]).expand(2, -1),
        ids_BT=ids_N[4:].view(2, 6),
        mask_BT=torch.ones_like(ids_N[4:]).view(2, 6),
    )
    with torch.autocast(lm.device.type, enabled=False):
        apart_BSD = joined_hidden(lm, trial).float()
        try:
            packed_BSD = packed_hidden(lm, trial).float()
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False  # whatever a model that was not made for such masks stumbles over
    error = (packed_BSD - apart_BSD).norm() / apart_BSD.norm()
    return bool(error <= TOLERANCE.get(lm.dtype, LOW_PRECISION_TOLERANCE))
