import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.tallied import tallied

from understudy.config.task import BertScore, ForecastSizes, ForecastTask
from understudy.errors import ConfigError, EvaluationError, ModelError
from understudy.evaluation.metrics import (
    METRICS,
    Metric,
    MetricContext,
    SystemOutputs,
    can_score,
    metric_named,
    on_texts,
    prepare_metrics,
    ratio,
    result_name,
    tally,
    unknown_metrics,
)
from understudy.records import Prediction

FULL = [Prediction("0", "s", ("a b c d e",), "a b c d e"), Prediction("1", "s", ("f g h i j", "k"), "f g h i j")]
EMPTY = [FULL[0], Prediction("1", "s", ("f g h i j", "k"), "")]


PERFECT = {
    "bleu": 100,
    "chrf": 100,
    "exact_match": 100,
    "rouge": 100,
    "rouge1": 100,
    "rouge2": 100,
    "rougeL": 100,
    "wer": 0,
}
"""The score of a text equal to its reference, by the metrics that need nothing but references."""

OWN_METRIC = """
import numpy as np
from understudy.evaluation.metrics import Metric, on_texts, ratio

def lengths(predictions):
    return np.array([(len(p.text), 1.0) for p in predictions])

length = Metric("length", "Length", on_texts(lengths), ratio, {"unit": "characters"})
"""


@pytest.mark.parametrize("name", PERFECT)
def test_an_empty_text_is_scored(name: str) -> None:
    """An empty prediction lowers the score; the example is not left out."""
    sign = 1 if METRICS[name].higher_is_better else -1

    assert tallied(name, FULL).value() == pytest.approx(PERFECT[name])
    assert sign * tallied(name, EMPTY).value() < sign * PERFECT[name]
    assert tallied(name, EMPTY).ids == ("0", "1")


def test_a_metric_is_named_as_in_the_table() -> None:
    """The key, the name in signatures and the name in comparisons are one; each has a label of its own."""
    assert [metric.name for metric in METRICS.values()] == list(METRICS)
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


def test_the_signature_contains_what_changes_the_value() -> None:
    """Counts, settings and versions follow the name and the caller's fields."""
    expected = (
        "bleu|data:c0ffee12|decoding:greedy|n:2|refs:1-2|norm:nfc|case:mixed|tok:13a|smooth:exp"
        f"|sacrebleu:{version('sacrebleu')}|understudy:{version('understudy')}"
    )

    assert tallied("bleu", FULL, fields={"data": "c0ffee12", "decoding": "greedy"}).signature == expected


def test_one_number_of_references_is_one_number() -> None:
    """A range is written only where there is one, and not at all where the metric needs no references."""
    assert "|refs:1|" in tallied("chrf", FULL[:1]).signature
    assert "refs" not in tallied("distinct_1", FULL).signature


def test_an_unknown_metric_is_answered_with_the_known_ones() -> None:
    """The message proposes the nearest name; a list of names gives one message for each unknown one."""
    nearest = r"unknown metric 'blue'; known: bertscore, bleu, .*did you mean 'bleu'"
    with pytest.raises(ConfigError, match=nearest):
        metric_named("blue")

    blue, ter = unknown_metrics(["bleu", "blue", "own.py:metric", "nll", "ter"])
    assert re.search(nearest, blue)
    assert "'ter'" in ter


def test_no_predictions_are_refused() -> None:
    """A score of no predictions would still be a number."""
    with pytest.raises(EvaluationError, match="bleu got no predictions"):
        tallied("bleu", [])


def test_missing_references_are_refused() -> None:
    """The message counts them and names the first."""
    with pytest.raises(EvaluationError, match="1 of 3 predictions have none \\(first: 'x'\\)"):
        tallied("rouge", [*FULL, Prediction("x", "s", (), "text")])


def test_texts_alone_have_no_likelihood() -> None:
    """Only a system with a network can be scored by nll."""
    texts, network = SystemOutputs(FULL), SystemOutputs(FULL, np.array([[3.0, 2.0], [1.0, 2.0]]))

    assert [can_score(METRICS["nll"], outputs) for outputs in (texts, network)] == [False, True]
    assert all(can_score(METRICS["bleu"], outputs) for outputs in (texts, network))
    assert tally(METRICS["nll"], network).value() == 1.0
    with pytest.raises(EvaluationError, match=r"nll needs the log-likelihood of the references.* texts alone"):
        tally(METRICS["nll"], texts)


def test_a_likelihood_of_other_examples_is_refused() -> None:
    """The message gives both counts."""
    with pytest.raises(EvaluationError, match=r"nll needs one log-likelihood per prediction, got 1 for 2"):
        tally(METRICS["nll"], SystemOutputs(FULL, np.array([[3.0, 2.0]])))


@pytest.mark.parametrize("name", ["bertscore", "meteor", "slot_error_rate"])
def test_a_resource_that_was_not_prepared_is_refused(name: str) -> None:
    """The message names the function that prepares it."""
    with pytest.raises(EvaluationError, match=rf"{name} got no prepared resource; .*prepare"):
        tallied(name, FULL)


def test_bertscore_asks_for_its_encoder() -> None:
    """Refused when resources are prepared, which is before anything is trained."""
    with pytest.raises(ConfigError, match=r"bertscore.* task\.bertscore\.model is not set; set it to a checkpoint"):
        prepare_metrics(["bleu", "bertscore"], MetricContext())


def test_an_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The checkpoint's config is read when resources are prepared."""
    with pytest.raises(ModelError, match=str(tmp_path)):
        prepare_metrics(["bertscore"], MetricContext(bertscore=BertScore(model=str(tmp_path))))


def test_slot_errors_ask_for_a_checker() -> None:
    """The message names the key of the recipe."""
    with pytest.raises(ConfigError, match=r"slot_error_rate needs a checker of facts.*task\.checker"):
        prepare_metrics(["slot_error_rate"], MetricContext())


def test_a_context_has_what_the_task_offers() -> None:
    """The encoder's section, and the checker that the caller loaded."""
    encoder = BertScore(model="roberta-large")
    task = ForecastTask(forecast=ForecastSizes(), bertscore=encoder)

    assert MetricContext.of(task) == MetricContext(bertscore=encoder)


def test_every_metric_without_needs_is_prepared() -> None:
    """Nothing is loaded for the default metrics."""
    names = ForecastTask(forecast=ForecastSizes()).metrics

    assert unknown_metrics(names) == []
    prepared = prepare_metrics([name for name in names if name != "slot_error_rate"], MetricContext())
    assert set(prepared.values()) == {None}


def test_a_metric_of_the_users_own_is_scored(tmp_path: Path) -> None:
    """Its signature changes with its source."""
    file = tmp_path / "own.py"
    file.write_text(OWN_METRIC)
    name = f"{file}:length"
    first = tally(metric_named(name, allow_code=True), SystemOutputs(FULL))
    file.write_text(OWN_METRIC.replace("characters", "letters"))
    second = tally(metric_named(name, allow_code=True), SystemOutputs(FULL))

    assert first.value() == 9
    assert first.signature.startswith("length|n:2|refs:1-2|norm:nfc|unit:characters|code:")
    codes = [own.signature.split("|code:")[1] for own in (first, second)]
    assert codes[0] != codes[1]


def test_a_metric_of_the_users_own_is_called_as_its_object(tmp_path: Path) -> None:
    """So that its name is known before the code may be imported."""
    file = tmp_path / "own.py"
    file.write_text(OWN_METRIC + "other = length\n")

    assert metric_named(f"{file}:other", allow_code=True).name == result_name(f"{file}:other") == "other"
    assert result_name("bleu") == "bleu"


def test_two_metrics_of_one_name_are_refused() -> None:
    """Results could not distinguish them; the message names both."""
    (message,) = unknown_metrics(["bleu", "own.py:bleu", "own.py:length"])

    assert re.search(r"bleu and own\.py:bleu .*'bleu'.*rename", message)


def test_a_metric_of_the_users_own_needs_permission(tmp_path: Path) -> None:
    """The message names the option."""
    with pytest.raises(ConfigError, match="--allow-code"):
        metric_named(f"{tmp_path}/own.py:length")


def test_a_function_is_not_a_metric(tmp_path: Path) -> None:
    """The message gives what was found and the page with an example."""
    file = tmp_path / "own.py"
    file.write_text(OWN_METRIC + "# a function\n")

    with pytest.raises(ConfigError, match=r"own\.py:lengths' is of type function, not .*Metric; .*docs/extending\.md"):
        metric_named(f"{file}:lengths", allow_code=True)


def test_statistics_of_another_shape_are_refused() -> None:
    """The message gives the shape."""
    own = Metric("own", "Own", on_texts(lambda predictions: np.zeros(len(predictions))), ratio)

    with pytest.raises(EvaluationError, match=r"own needs one row of statistics per prediction, got shape \(2,\)"):
        tally(own, SystemOutputs(FULL))


def test_a_formula_of_another_shape_is_refused() -> None:
    """It maps rows of summed statistics to one value each."""
    own = Metric("own", "Own", on_texts(lambda predictions: np.zeros((len(predictions), 2))), lambda sums_RD: sums_RD)

    with pytest.raises(EvaluationError, match=r"own needs one value per row.*got shape \(1, 2\).*formula"):
        tally(own, SystemOutputs(FULL))
