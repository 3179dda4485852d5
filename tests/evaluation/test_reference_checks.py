"""Which metrics can score which references."""

import re

import pytest
from tests.evaluation.scripts import LANGUAGES, task

from understudy.evaluation.reference_checks import metric_problem, working_metrics

LABELS = [("positive",), ("negative",), ("neutral",)] * 10
SENTENCES = [("the cat sat on a mat",)] * 10
DEFAULT = ("bleu", "chrf", "rouge", "nll", "distinct_2")


def test_bleu_of_labels_is_refused() -> None:
    """The message counts the references and names what to use."""
    message = metric_problem("bleu", LABELS)

    assert message is not None
    assert re.search(r"'bleu'.* 30 of 30 .*fewer than 4 tokens.*task\.metrics: \[exact_match, chrf\]", message)


@pytest.mark.parametrize("metric", ["exact_match", "chrf", "rouge", "rouge1", "rougeL", "wer", "nll", "own"])
def test_labels_can_be_scored_by(metric: str) -> None:
    """Everything that needs no n-gram of several words."""
    assert metric_problem(metric, LABELS) is None


def test_pairs_of_words_are_needed_by_rouge_2() -> None:
    """One word has none."""
    assert "30 of 30 references have fewer than 2 words" in str(metric_problem("rouge2", LABELS))
    assert metric_problem("rouge2", SENTENCES) is None


def test_a_few_long_references_are_enough() -> None:
    """A tenth of the examples; one long reference of an example is enough."""
    assert metric_problem("bleu", [("yes",)] * 9 + [("no", "the cat sat on a mat")]) is None
    assert metric_problem("bleu", [("yes",)] * 10 + [("no", "the cat sat on a mat")]) is not None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("metric", DEFAULT)
def test_default_metrics_work_in_every_script(metric: str, language: str) -> None:
    """The tokens are those of the metric's own tokenizer."""
    assert metric_problem(metric, [one.targets for one in task(language, 20)]) is None


def test_meteor_needs_words() -> None:
    """It is for scripts with spaces."""
    references = [one.targets for one in task("chinese", 20)]

    assert "without spaces" in str(metric_problem("meteor", references))
    assert metric_problem("meteor", SENTENCES) is None


def test_references_that_do_not_exist_are_no_problem() -> None:
    """An API teacher may write them later."""
    assert metric_problem("bleu", [(), ()]) is None


def test_default_metrics_follow_the_references() -> None:
    """Those that work stay; exact match and chrF replace the others."""
    assert working_metrics(DEFAULT, SENTENCES) == DEFAULT
    assert working_metrics(DEFAULT, LABELS) == ("exact_match", "chrf", "rouge", "nll", "distinct_2")
