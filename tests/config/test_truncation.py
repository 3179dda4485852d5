"""Objectives whose gradient truncation changes too much are refused, with what was measured and a remedy."""

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from understudy.config.objectives import AnyObjective
from understudy.config.presets import PRESETS
from understudy.config.read import check_recipe, merge
from understudy.config.truncation import ERRORS, LIMIT, MEASURED, gradient_errors, measured_truncation
from understudy.errors import ConfigError

SIZES = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16, "dropout": 0.1}
RECIPE: dict[str, Any] = {
    "name": "small",
    "task": {"files": {"labeled": "a", "unlabeled": "b", "dev": "c", "test": "d"}},
    "teacher": {"scratch": SIZES, "vocab_size": 100},
    "student": {"scratch": SIZES},
}
ENDPOINT = {"endpoint": {"model": "m", "top_logprobs": 20}}
SETTINGS = {"t": "start"}
"""Names of the benchmark -> those of the recipe."""


def objective_of(name: str) -> AnyObjective:
    """An objective of benchmarks/logprob_bytes.py, such as `jsd, beta 0.5` or `temperature 2.0`."""
    if name.startswith("temperature"):
        name = f"forward_kl, {name}"
    kind, *settings = name.split(", ")
    pairs = (setting.split() for setting in settings)
    values = {SETTINGS.get(key, key): float(value) for key, value in pairs}
    objective: AnyObjective = TypeAdapter(AnyObjective).validate_python({"kind": kind, **values})
    return objective


def distilled(**distil: object) -> dict[str, Any]:
    """A recipe with these settings of `distil`."""
    return merge(RECIPE, {"distil": distil})


@pytest.mark.parametrize("method", PRESETS)
def test_every_method_can_be_used_without_further_settings(method: str) -> None:
    """Where its objective needs more than the default keeps, the preset keeps more."""
    check_recipe(distilled(method=method))


@pytest.mark.parametrize(
    ("objective", "facts"),
    [
        ({"kind": "reverse_kl"}, ["distil.objective is reverse_kl", "top 14, top_p 0.99", "21 %", "top: 64, top_p: 1"]),
        ({"kind": "jsd", "beta": 0.8}, ["jsd with beta 0.8", "13 %", "{kind: sparse, top: 32, top_p: 1} (8 %)"]),
        ({"kind": "jsd", "beta": 1.0}, ["21 %"]),
        ({"kind": "tvd"}, ["tvd", "11 %", "top: 32"]),
        ({"kind": "skew_reverse_kl", "alpha": 0.01}, ["skew_reverse_kl with alpha 0.01", "19 %", "top: 64"]),
        ({"kind": "skew_kl", "alpha": 0.9}, ["28 %", "top: 256"]),
        ({"kind": "forward_kl", "temperature": 2.0}, ["temperature 2", "80 %", "; set teacher_logprobs={kind: dense}"]),
        ({"kind": "jsd", "temperature": 0.5}, ["42 %"]),
        ({"kind": "taid"}, ["taid", "12 %", "top: 32"]),
    ],
)
def test_an_objective_that_the_default_distorts_is_refused(objective: dict[str, Any], facts: list[str]) -> None:
    """The message has the error that was measured; the remedy is accepted, and so are dense distributions."""
    with pytest.raises(ConfigError) as error:
        check_recipe(distilled(objective=objective))

    facts = [*facts, "was measured", f"limit {LIMIT:.0f} %", "{kind: dense}"]
    assert [fact for fact in facts if fact not in str(error.value)] == []
    place = next((n for n, own in enumerate(gradient_errors(objective_section(objective)) or ()) if own <= LIMIT), None)
    remedies: list[dict[str, Any]] = [{"kind": "dense"}]
    if place is not None:
        remedies.append({"kind": "sparse", "top": MEASURED[place][0], "top_p": 1.0})
    for logprobs in remedies:
        check_recipe(distilled(objective=objective, teacher_logprobs=logprobs))


@pytest.mark.parametrize(("top", "error"), [(1, 28), (2, 28), (3, 28), (4, 17), (7, 17)])
def test_fewer_than_8_tokens_are_refused_for_every_objective(top: int, error: int) -> None:
    """Also for forward KL, with the error at 4 or at 2 tokens, and 8 as the remedy; at 4 none is within it."""
    with pytest.raises(ConfigError, match=rf"keeps top {top}, .* {error} % was measured .*top: 8, top_p: 1"):
        check_recipe(distilled(teacher_logprobs={"kind": "sparse", "top": top, "top_p": 1.0}))
    check_recipe(distilled(teacher_logprobs={"kind": "sparse", "top": 8, "top_p": 1.0}))

    assert min(row[1] for rows in ERRORS.values() for row in rows.values()) > LIMIT


def objective_section(objective: dict[str, Any]) -> AnyObjective:
    """A validated section."""
    section: AnyObjective = TypeAdapter(AnyObjective).validate_python(objective)
    return section


@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "forward_kl"},
        {"kind": "jsd", "beta": 0.5},
        {"kind": "skew_kl"},
        {"kind": "skew_reverse_kl", "alpha": 0.3},
        {"kind": "argmax_cross_entropy"},
        {"kind": "cross_entropy"},
        {"kind": "custom", "function": "own.py:loss"},
    ],
)
def test_others_are_not_refused(objective: dict[str, Any]) -> None:
    """Of one's own code nothing was measured."""
    check_recipe(distilled(objective=objective))


def test_the_objective_of_student_samples_counts_too() -> None:
    """The message names it."""
    with pytest.raises(ConfigError, match=r"distil\.student_samples_objective is reverse_kl"):
        check_recipe(distilled(student_samples_objective={"kind": "reverse_kl"}))


def test_an_endpoint_that_returns_few_tokens_is_not_refused() -> None:
    """Its fewer than 8 tokens count as 8: more are not to be had."""
    check_recipe(distilled(method="extreme_logits") | {"teacher": {"endpoint": {"model": "m", "top_logprobs": 2}}})


def test_what_an_endpoint_returns_is_not_cut_to_half_of_its_mass() -> None:
    """How many tokens come is the endpoint's choice, how many of them are kept is the recipe's."""
    distil = {"method": "extreme_logits", "teacher_logprobs": {"kind": "sparse", "top_p": 0.5}}
    with pytest.raises(ConfigError, match=r"set distil.teacher_logprobs.top_p to 0.9 or more"):
        check_recipe(distilled() | {"distil": distil, "teacher": ENDPOINT})


def test_an_endpoint_returns_no_more_tokens() -> None:
    """Its own tokens are counted, and the remedy is another objective."""
    recipe = distilled(method="extreme_logits", objective={"kind": "reverse_kl"}) | {"teacher": ENDPOINT}
    with pytest.raises(ConfigError, match=r"keeps top 21, top_p 1: .*21 %.*use objective forward_kl"):
        check_recipe(recipe)


@pytest.mark.parametrize(
    ("top", "top_p", "place"),
    [
        (1, 1.0, 0),
        (3, 1.0, 0),
        (4, 1.0, 1),
        (7, 1.0, 1),
        (7, 0.99, 0),
        (8, 1.0, 2),
        (8, 0.99, 2),
        (14, 0.99, 3),
        (20, 1.0, 3),
        (64, 0.99, 3),
        (14, 0.9, 2),
        (14, 0.89, 0),
        (63, 1.0, 4),
        (64, 1.0, 5),
        (1024, 1.0, 7),
        (1025, 1.0, None),
        (1025, 0.99, 3),
    ],
)
def test_a_truncation_counts_as_the_next_one_that_keeps_less(top: int, top_p: float, place: int | None) -> None:
    """What keeps more than all that were measured is not refused."""
    assert measured_truncation(top, top_p) == place


def test_errors_between_two_settings_are_interpolated() -> None:
    """And those beyond the last one are at least its own."""
    for low, value, high in ((0.5, 0.6, 0.7), (0.0, 0.05, 0.1)):
        rows = ERRORS["jsd"]
        expected = [(one + other) / 2 for one, other in zip(rows[low], rows[high], strict=True)]
        assert gradient_errors(objective_of(f"jsd, beta {value}")) == pytest.approx(expected)
    assert gradient_errors(objective_of("skew_kl, alpha 0.95")) == ERRORS["skew_kl"][0.9]


def test_the_table_is_of_objectives_that_there_are() -> None:
    """Those of labels are not in it, nor the user's own code; one that is added is not refused until it is measured."""
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(AnyObjective)[0])}

    assert set(ERRORS) <= kinds - {"cross_entropy", "argmax_cross_entropy", "custom"}


def test_more_kept_tokens_never_make_an_error_larger() -> None:
    """The table is in order."""
    for rows in ERRORS.values():
        for row in rows.values():
            assert list(row) == sorted(row, reverse=True)
