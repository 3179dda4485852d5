"""Whether references can be scored by a metric at all, and the metrics that they can be scored by.

BLEU counts 4-grams: on references of one word it is 0 for every system and every checkpoint. A metric that the user
names and that cannot work is refused; the default metrics are those that work.
"""

from collections.abc import Sequence

from understudy.evaluation.overlap import BLEU_ORDERS
from understudy.evaluation.words import Tokenization, tokenization, tokenizer, words

FEWEST = 0.1
"""Share of the references that need an n-gram, below which a metric is refused."""
MOST = 0.5
"""The same for a metric that is used by default: one that is mostly 0 chooses between checkpoints by accident."""
BLEU_TOKENS: dict[str, Tokenization | None] = {"bleu": None, "bleu_zh": "zh", "bleu_char": "char"}
"""Names of BLEU -> its tokenizer; None: the one that fits."""
NEEDED_WORDS = {"rouge": 1, "rouge1": 1, "rouge2": 2, "rougeL": 1}
SHORT = ("exact_match", "chrf")
"""Metrics that work on texts of any length in any script."""


def metric_problem(metric: str, references: Sequence[Sequence[str]], *, fewest: float = FEWEST) -> str | None:
    """Why a metric cannot score these references, as a sentence that says what to use; None where it can.

    Args:
        metric: a key of `METRICS`; the user's own metrics have no known needs.
        references: of each example; examples without any are left out.
        fewest: the share of the examples that must have the metric's n-grams.
    """
    texts = [list(own) for own in references if own]
    flat = [text for own in texts for text in own]
    if not texts:
        return None
    kind = tokenization(flat)
    if metric == "meteor" and kind != "13a":
        return (
            "metric 'meteor' cannot score this task: its references are in a script without spaces between words, and "
            f"METEOR matches words; {_instead('bleu', 'chrf')}"
        )
    if metric in BLEU_TOKENS:
        split, unit, needed = tokenizer(BLEU_TOKENS[metric] or kind), "tokens", BLEU_ORDERS
        reason = f"BLEU counts {BLEU_ORDERS}-grams"
    elif metric in NEEDED_WORDS:
        split, unit, needed = words, "words", NEEDED_WORDS[metric]
        reason = f"{metric} counts {'pairs of words' if needed > 1 else 'words'}"
    else:
        return None
    without = sum(all(len(split(text)) < needed for text in own) for own in texts)
    if len(texts) - without >= max(1, fewest * len(texts)):
        return None
    return (
        f"metric {metric!r} cannot score this task: {without} of {len(texts)} references have fewer than {needed} "
        f"{unit}, and {reason}; {_instead(*SHORT)}"
    )


def working_metrics(names: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Default metrics without those that cannot score the references; what replaces them stands first."""
    working = tuple(name for name in names if metric_problem(name, references, fewest=MOST) is None)
    return working if len(working) == len(names) else tuple(dict.fromkeys((*SHORT, *working)))


def _instead(*names: str) -> str:
    return f"use task.metrics: [{', '.join(names)}] and task.primary_metric: {names[0]}"
