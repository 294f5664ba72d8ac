"""CUDA graphs of decoding steps.

Not yet run on a GPU. Each graph is held against the step that it plays back before it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from weakref import WeakSet

import torch
from torch import Tensor
from transformers import PreTrainedModel

from homestretch.policies.fixed import FixedSteps, Run
from homestretch.policies.memory import is_out_of_memory
from homestretch.policies.packed import LOW_PRECISION_TOLERANCE, packs

_REFUSED: WeakSet[PreTrainedModel] = WeakSet()


def graphed_steps(lm: PreTrainedModel) -> FixedSteps | None:
    """Steps that a GPU plays back; None elsewhere, and for models that do not do as a mask and positions say."""
    if lm.device.type != "cuda" or lm in _REFUSED or not packs(lm):
        return None
    return FixedSteps(lm, or_plain(played_back, lm))


def or_plain(capture: Callable[[Run], Run], lm: PreTrainedModel) -> Callable[[Run], Run]:
    """A capture after which a step that cannot be captured is computed as before, once and for all steps of the
    model, with a sentence on stderr."""

    def captured(run: Run) -> Run:
        if lm in _REFUSED:
            return run
        try:
            return capture(run)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            _REFUSED.add(lm)
            reason = str(error).splitlines()[0][:200]
            print(f"homestretch: decoding goes on without CUDA graphs, which failed: {reason}", file=sys.stderr)
            return run

    return captured


def played_back(run: Run) -> Run:
    """`run` as a CUDA graph. Raises RuntimeError where it cannot be captured, or its graph gives another result."""
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(current)
    with torch.cuda.stream(side), _uncached_casts():
        expected_RD = run().clone()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), _uncached_casts():
        out_RD = run()

    def replay() -> Tensor:
        graph.replay()
        return out_RD

    error = (replay().float() - expected_RD.float()).norm() / expected_RD.float().norm()
    if not error <= LOW_PRECISION_TOLERANCE:
        raise RuntimeError(f"a graph's states were off by {float(error):.2g} of their size")
    return replay


def _uncached_casts() -> torch.autocast:
    """The precision that holds here, without tensors that outlive the capture: they lie in the graph's own memory."""
    return torch.autocast("cuda", enabled=torch.is_autocast_enabled("cuda"), cache_enabled=False)
