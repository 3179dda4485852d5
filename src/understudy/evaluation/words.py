"""Words of texts in any script, and the tokenization that fits a script.

Metrics that count words or n-grams of words take them from here. A script that writes no spaces between words (Han,
kana, Thai, Lao, Khmer, Burmese, Tibetan) has one unit per character, since finding its words would need a model.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Literal

import regex
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from understudy.records import Prediction

Tokenization = Literal["13a", "zh", "char"]
"""The tokenizers of sacrebleu that are used: words, Han characters and words, characters."""

TOKENIZERS = {"13a": Tokenizer13a, "zh": TokenizerZh, "char": TokenizerChar}
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
LETTERS, HAN, OTHERS = (
    regex.compile(pattern) for pattern in (r"\p{L}", r"\p{Han}", rf"(?=\p{{L}})(?!\p{{Han}})[{UNSPACED}]")
)
# A mark belongs to the letter before it: without \p{M}, vowel signs would split the words of Hindi and Thai.
WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[\p{{L}}\p{{M}}\p{{N}}--[{UNSPACED}]]+", regex.V1)
HAN_PER_OTHER = 10
"""Japanese mixes Han characters and kana, which sacrebleu's `zh` would leave in one piece."""


def words(text: str) -> list[str]:
    """The words of a text: runs of letters, marks and digits; in scripts without spaces, single characters."""
    found: list[str] = WORD.findall(text)
    return found


def tokenization(texts: Iterable[str]) -> Tokenization:
    """The tokenization that fits texts by their letters: words, unless most letters are of scripts without spaces."""
    letters = han = others = 0
    for text in texts:
        letters += len(LETTERS.findall(text))
        if not text.isascii():
            han += len(HAN.findall(text))
            others += len(OTHERS.findall(text))
    if 2 * (han + others) <= letters:
        return "13a"
    return "zh" if han > HAN_PER_OTHER * others else "char"


def fitting(predictions: Sequence[Prediction]) -> Tokenization:
    """The tokenization that fits the references, so that it is the same for all systems; without any, the sources."""
    references = list(chain.from_iterable(one.references for one in predictions))
    return tokenization(references or (one.source for one in predictions))


def tokenizer(kind: Tokenization) -> Callable[[str], list[str]]:
    """Text to tokens, as sacrebleu finds them."""
    own = TOKENIZERS[kind]()
    return lambda text: own(text).split()
