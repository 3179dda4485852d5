"""The named methods: each is a set of defaults for a recipe, nothing more.

Every method is a point in: where the target text comes from x which divergence on its tokens. A recipe's
own settings win over its preset's.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

BEAM = {"kind": "beam", "beams": 4}
SAMPLING = {"kind": "sampling", "top_k": 50, "top_p": 0.95, "temperature": 1.0}


@dataclass(frozen=True)
class Preset:
    """A method of the family."""

    meaning: str
    source: str
    targets: dict[str, float]
    objective: str
    pseudo_targets: dict[str, Any] | None = None
    """None: the method needs no pool."""

    def defaults(self) -> dict[str, Any]:
        """The part of a recipe this preset fills in."""
        distil = {"targets": self.targets, "objective": {"kind": self.objective}}
        return {"distil": distil, **({"pseudo_targets": self.pseudo_targets} if self.pseudo_targets else {})}


PRESETS = MappingProxyType(
    {
        "fine_tune": Preset(
            "The student learns gold text alone.",
            "Calderon et al. 2023, S3 (the baseline)",
            {"gold": 1},
            "cross_entropy",
        ),
        "logits_kd": Preset(
            "The student matches the teacher's distributions on gold text.",
            "Hinton et al. 2015; Calderon et al. 2023, S3",
            {"gold": 1},
            "forward_kl",
        ),
        "sequence_level": Preset(
            "The student learns gold text and one beam-searched text of the teacher per labelled input.",
            "Kim & Rush 2016, section 3.2; Calderon et al. 2023, S4",
            {"gold": 0.5, "teacher": 0.5},
            "cross_entropy",
            {"inputs": ["labeled"], "per_input": 1, "decoding": BEAM},
        ),
        "logits_pt": Preset(
            "The student matches the teacher's distributions on gold text and on one text of the teacher per input.",
            "Calderon et al. 2023, S4",
            {"gold": 0.5, "teacher": 0.5},
            "forward_kl",
            {"inputs": ["labeled"], "per_input": 1, "decoding": BEAM},
        ),
        "student_only": Preset(
            "The student matches the teacher's distributions on texts it samples itself.",
            "Calderon et al. 2023, S8",
            {"gold": 0.1, "student": 0.9},
            "forward_kl",
            {"inputs": ["labeled", "unlabeled"], "per_input": 1, "decoding": SAMPLING},
        ),
        "joint_teaching": Preset(
            "The student matches the teacher's distributions, half on texts the teacher sampled, half on texts it "
            "samples itself, with gold mixed in.",
            "Calderon et al. 2023, S8, section 5.3",
            {"gold": 0.1, "teacher": 0.45, "student": 0.45},
            "forward_kl",
            {"inputs": ["labeled", "unlabeled"], "per_input": 8, "decoding": SAMPLING},
        ),
    }
)
