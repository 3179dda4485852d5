"""Warnings and notices of a model card."""

import pytest

from understudy.errors import ConfigError
from understudy.report.facts import Facts
from understudy.serving.card import Statements, statements_of, terms_warning
from understudy.serving.family_notices import family_notices

LOCAL: Facts = {"task": "t", "primary_metric": "bleu", "systems": [], "gap_closed": {}, "method": "m"}


def test_an_api_without_stated_terms_is_warned_of() -> None:
    """A local teacher needs no terms; once they are stated there is nothing to warn of."""
    api: Facts = {**LOCAL, "api_responses": {}}  # type: ignore[typeddict-item]
    assert "restrict training other models" in str(terms_warning(api, Statements()))
    assert terms_warning(api, Statements(teacher_licence="terms of 2026-01")) is None
    assert terms_warning(LOCAL, Statements()) is None


def test_families_have_the_notices_of_their_licences() -> None:
    """Each notice is there once; families without a condition have none."""
    llama, gemma = family_notices(["llama", "gemma3_text", "gemma2", "qwen2"])
    assert "Built with Llama" in llama
    assert "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms" in gemma
    assert family_notices(["qwen2", "bart"]) == []


def test_statements_are_pairs() -> None:
    """A value may have equals signs; an unknown key or a missing value is refused."""
    assert statements_of(["notes=a = b", "language=en"]) == Statements(notes="a = b", language="en")
    with pytest.raises(ConfigError, match="unknown statement of --card 'licence'; known: data_licence"):
        statements_of(["licence=mit"])
    with pytest.raises(ConfigError, match="write language=VALUE"):
        statements_of(["language="])
