"""Notices that the licences of pretrained families ask for where a model is passed on."""

from collections.abc import Iterable

_LLAMA = (
    "Built with Llama. If a model of this run began as one of Meta's Llama models, its licence holds (Llama is "
    "licensed under the Llama Community License, Copyright © Meta Platforms, Inc. All Rights Reserved): pass the "
    'licence on with this model, and begin the name of a published model with "Llama". Models of others in the same '
    "architecture have their own licences."
)
_GEMMA = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. The use "
    "restrictions of these terms hold for this model too: pass the terms on with it, and state that it was modified."
)
FAMILY_NOTICES = {
    "llama": _LLAMA,
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text", "t5gemma", "t5gemma2"), _GEMMA),
}
"""`model_type` of a pretrained model that a student or its teacher began as -> the notice."""


def family_notices(families: Iterable[str]) -> list[str]:
    """The notices of these families, each once."""
    return list(dict.fromkeys(FAMILY_NOTICES[family] for family in families if family in FAMILY_NOTICES))
