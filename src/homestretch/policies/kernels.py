"""Liger's fused kernels in place of a model's own layers: rotary positions, norms and gated products."""

from __future__ import annotations

from transformers import PreTrainedModel

from homestretch.errors import InputError

LOSSES = ("cross_entropy", "fused_linear_cross_entropy")
"""Kernels that stand for a loss of transformers, which nothing here computes."""


def fuse(lm: PreTrainedModel) -> None:
    """Patch the layers of a model on a CUDA GPU, in place.

    Raises InputError elsewhere, where liger-kernel is not installed, and for a kind of model that it does not know.
    Not yet run on a GPU, and Triton's interpreter for CPUs does not run these kernels.
    """
    if lm.device.type != "cuda":
        raise InputError("`use_liger_kernel` needs a CUDA GPU: leave it out, or set device=cuda.")
    try:
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as known
    except ImportError:
        raise InputError(
            "`use_liger_kernel` needs Liger: pip install -e '.[liger]' in the repository, or leave it out."
        ) from None
    if lm.config.model_type not in known:
        raise InputError(
            f"Liger has no kernels for models of the type `{lm.config.model_type}`: leave `use_liger_kernel` out."
        )
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(lm, dict.fromkeys(LOSSES, False))
