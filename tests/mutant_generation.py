"""Mistakes in the decode loop and in what it carries from step to step."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "policies/caches",
        "test_joining test_engine",
        ('padding == "front" else (0, 0, 0, missing)', 'padding == "behind" else (0, 0, 0, missing)'),
        ("mask_BL.any(0)", "mask_BL.all(0)"),
        ("layer.keys.to(dtype), layer.values.to(dtype)", "layer.keys, layer.values"),
    ),
    *of(
        "policies/causal",
        "test_joining test_engine",
        ("caches.first_used(self.mask_BL[rows])", "0"),
        ('self.mask_BL, other.mask_BL, padding="front"', 'self.mask_BL, other.mask_BL, padding="behind"'),
    ),
    *of(
        "policies/seq2seq",
        "test_joining",
        ("caches.first_used(self.mask_BL[rows])", "0"),
        ("slice(int(self.prompt_mask_BP[rows].sum(1).max()))", "slice(None)"),
        ("bool(error <= (", "bool(error >= 0 * ("),
        ("None if bool(self.mask_BL.all()) else self.mask_BL", "None"),
        ('other.cache.cross_attention_cache, padding="behind"', 'other.cache.cross_attention_cache, padding="front"'),
        ('other.cache.self_attention_cache, padding="front"', 'other.cache.self_attention_cache, padding="behind"'),
    ),
]
