"""Memory of one scoring and backward pass beyond what was there before it: ours, or with whole logits."""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch
from protocol import answer
from transformers import LlamaConfig, LlamaForCausalLM

from homestretch import Policy
from homestretch.batch import SequenceBatch
from homestretch.config.training import TrainingConfig
from homestretch.policies.memory import release, steady_heap
from homestretch.policies.trunk import Trunk

PAGE = 4096


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Peak:
    """The most memory while a block runs: the allocator's count on CUDA, the resident size every millisecond else."""

    def __enter__(self) -> Peak:
        self.on_gpu, self.most, self.running = torch.cuda.is_available(), 0, True
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            self.before = resident()
            self.thread = threading.Thread(target=self._watch)
            self.thread.start()
        return self

    def _watch(self) -> None:
        while self.running:
            self.most = max(self.most, resident())
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        self.running = False
        if self.on_gpu:
            self.most = torch.cuda.max_memory_allocated()
        else:
            self.thread.join()

    @property
    def bytes(self) -> int:
        """What came on top."""
        return max(self.most - self.before, 1)


def ours(trunk: Trunk, batch: SequenceBatch) -> torch.Tensor:
    """Sum of log-probabilities of the responses by `Policy.score`."""
    logp_BT = Policy(trunk, "policy", budget=1 << 20).score(batch, want={"logp"}).logp_BT
    assert logp_BT is not None
    return logp_BT.sum()


def naive(trunk: Trunk, batch: SequenceBatch) -> torch.Tensor:
    """The same by the whole logits of prompt and response, in float32."""
    ids_BL = torch.cat([batch.prompt_ids_BP, batch.ids_BT], 1)
    with trunk.using("policy"):
        logits_BLV = trunk.lm(input_ids=ids_BL).logits.float()
    logp_BL = logits_BLV[:, :-1].log_softmax(-1).gather(-1, ids_BL[:, 1:, None]).squeeze(-1)
    return logp_BL[:, batch.prompt_ids_BP.shape[1] - 1 :].sum()


def main() -> None:
    """Do a round; the rate is the memory in MB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["ours", "naive"])
    parser.add_argument("vocabulary", type=int)
    parser.add_argument("length", type=int, help="tokens of a row, half of them the response")
    parser.add_argument("--rows", type=int, default=4)
    args = parser.parse_args()
    if args.way == "ours":
        steady_heap()
    torch.manual_seed(0)
    size = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=args.vocabulary, tie_word_embeddings=True, max_position_embeddings=2048, **size)
    trunk = Trunk(LlamaForCausalLM(config))
    trunk.add_adapter("policy", TrainingConfig())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trunk.to(device)
    ids = torch.randint(0, args.vocabulary, (args.rows, args.length), device=device)
    prompt, response = ids.split(args.length // 2, dim=1)
    batch = SequenceBatch(
        prompt_ids_BP=prompt, prompt_mask_BP=torch.ones_like(prompt), ids_BT=response, mask_BT=torch.ones_like(response)
    )
    tiny = replace(batch.select([0]), ids_BT=response[:1, :4], mask_BT=torch.ones_like(response[:1, :4]))
    way = {"ours": ours, "naive": naive}[args.way]

    def work() -> float:
        way(trunk, tiny).backward()  # what a first pass loads is not counted
        trunk.zero_grad(set_to_none=True)
        release()
        with Peak() as peak:
            way(trunk, batch).backward()
            trunk.zero_grad(set_to_none=True)
        return peak.bytes / 1e6

    answer(work)


if __name__ == "__main__":
    main()
