"""Scripts as regular expressions need them: the insides of character classes.

Python's `\\w` knows letters and digits of any script, but not the vowel signs and accents that many scripts write as
characters of their own: a word is a run of both.
"""

from __future__ import annotations

import unicodedata

# Latin letters: the first blocks, IPA and phonetic extensions, ligatures, full width, mathematical alphabets. The
# symbols between them do no harm.
LATIN = (
    "\u0000-\u036f\u1d00-\u1dbf\u1e00-\u1eff\u2000-\u2bff\u2c60-\u2c7f\ua720-\ua7ff\uab30-\uab6f\ufb00-\ufb06"
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff\U0001df00-\U0001dfff\U0001f100-\U0001f1ff"
)
UNSPACED = (  # Thai, Lao, Myanmar, Khmer, Han, Hiragana and Katakana: no spaces between words
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
MARKS = "".join(c for c in map(chr, range(0x300, 0xAC00)) if unicodedata.category(c) in ("Mn", "Mc"))
CHARACTER = rf"(?=\w)[{UNSPACED}][{MARKS}]*"
"""One character of a script without spaces, its marks included."""
