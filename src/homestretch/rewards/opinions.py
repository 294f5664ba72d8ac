"""Whether a sentence praises or complains, by a small list of English words with negation.

    polarity(s) = sign(sum_i v(w_i) n_i),   v: +1 or -1 for a word of the lists, else 0
    n_i         = -1 where one of the three words before w_i negates, else 1

Enough to see that two sentences about the same thing disagree; of irony, and of other languages, it knows nothing.
"""

from __future__ import annotations

from functools import lru_cache

from homestretch.metrics.sentences import words

POSITIVE = frozenset(
    """accurate adore affordable amazing awesome beautiful beautifully best better bright clean comfortable comfy
    convenient delicious delighted delightful durable easily easy effective enjoy enjoyable enjoyed enjoys
    excellent fabulous fantastic fast favorite favourite fine flawless fun glad good gorgeous great handy happy
    helpful ideal impressed impressive improved liked likes love loved lovely loves nice perfect perfectly
    pleasant pleased positive praise praised quick quickly quiet recommend recommended recommends reliable
    satisfied sharp simple smooth smoothly soft solid strong sturdy stylish
    super superb terrific useful wonderful worked works worth worthwhile""".split()
)
NEGATIVE = frozenset(
    """annoying awful awkward bad badly bland blurry boring break breaking breaks broke broken bulky cheaply complain
    complained complaint complaints confusing crack cracked crash crashed dangerous dead defect defective difficult
    dirty disappoint disappointed disappointing disappointment dislike disliked fail failed fails failure fault
    faulty flaw flawed flaws flimsy fragile frustrated frustrating garbage hate hated hates horrible
    inaccurate inconsistent inferior irritating issue issues junk lack lacked lacking lacks leak leaked leaking
    leaks loud mediocre messy negative noisy nightmare painful poor poorly problem problems refund regret return
    ripped rough rude scratched slow sore stiff stopped struggle stuck stupid terrible torn
    ugly uncomfortable unhappy unpleasant unreliable unsafe useless waste wasted weak
    wobbly worse worst worthless wrong""".split()
)
NEGATORS = frozenset(
    "barely cannot cant hardly neither never no nobody none nor not nothing rarely seldom without".split()
)
REACH = 3


@lru_cache(maxsize=65536)
def polarity(sentence: str) -> int:
    """1 where praise outweighs complaint, -1 where complaint does, 0 where neither does."""
    units = [word.replace("\u2019", "'") for word in words(sentence)]
    total = 0
    for i, word in enumerate(units):
        value = (word in POSITIVE) - (word in NEGATIVE)
        if value and any(_negates(before) for before in units[max(i - REACH, 0) : i]):
            value = -value
        total += value
    return (total > 0) - (total < 0)


def _negates(word: str) -> bool:
    return word in NEGATORS or word.endswith("n't")
