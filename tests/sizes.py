"""The sizes of networks so small that a test builds them in no time."""

from typing import Any

from understudy.config.model_sections import Architecture, Scratch


def small(architecture: Architecture = "bart", **others: Any) -> Scratch:  # noqa: ANN401 - any size there is
    """One layer a side, sixteen wide, no dropout; `others` are sizes that a test needs otherwise."""
    sizes = {
        "width": 16,
        "encoder_layers": 1 if architecture in {"bart", "t5"} else 0,
        "decoder_layers": 1,
        "heads": 2,
        "feed_forward": 16,
        "dropout": 0.0,
    }
    return Scratch(architecture=architecture, **(sizes | others))
