"""Memory of one scoring and backward pass as the vocabulary and the rows grow: homestretch against whole logits.

    python benchmarks/memory.py

A Llama of four layers, 256 wide, with LoRA and tied embeddings, four rows, half of each the response; what the pass
needs on top of the weights, in MB. `ratio` is whole logits / homestretch at the largest size; `growth` is the exponent
of memory against the vocabulary at the longest rows, 0 where it does not matter, 1 where it is proportional. Each
measurement is the first pass of a process of its own.
"""

from __future__ import annotations

import math
import sys

from harness import Worker, arguments, finish, interleaved, result

VOCABULARIES, LENGTHS = (32_000, 64_000, 152_000), (128, 512, 1024)


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__, rounds=3).parse_args()
    rounds, lengths = (1, LENGTHS[:1]) if args.quick else (args.rounds, LENGTHS)
    vocabularies = (VOCABULARIES[0], VOCABULARIES[-1]) if args.quick else VOCABULARIES
    cases, medians = [], {}
    for length in lengths:
        for vocabulary in vocabularies:
            ways = {
                way: Worker(sys.executable, "memory_pass.py", way, str(vocabulary), str(length))
                for way in ("naive", "ours")
            }
            rates = interleaved(ways, rounds=rounds, warm_up=0)
            case = f"vocabulary {vocabulary}, rows of {length}"
            cases.append(result(case, "MB", rates, ours="naive", peer="ours", vocabulary=vocabulary, length=length))
            medians[length, vocabulary] = cases[-1]["medians"]
    longest, (small, large) = lengths[-1], (vocabularies[0], vocabularies[-1])
    for way in ("naive", "ours"):
        ratio = medians[longest, large][way] / medians[longest, small][way]
        growth = math.log(ratio) / math.log(large / small)
        print(f"{way}: exponent {growth:.2f} of memory against the vocabulary, rows of {longest}")
        cases[-1][f"growth_{way}"] = growth
    finish("memory", cases[::-1])


if __name__ == "__main__":
    main()
