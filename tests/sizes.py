"""The sizes of networks that a test builds in milliseconds."""

from typing import Any

from understudy.config.model_sections import Architecture, Scratch


def small(architecture: Architecture = "bart", **others: Any) -> Scratch:  # noqa: ANN401 - any size there is
    """One layer per stack, width 16, no dropout; `others` replace some of the sizes."""
    sizes = {
        "width": 16,
        "encoder_layers": 1 if architecture in {"bart", "t5"} else 0,
        "decoder_layers": 1,
        "heads": 2,
        "feed_forward": 16,
        "dropout": 0.0,
    }
    return Scratch(architecture=architecture, **(sizes | others))
