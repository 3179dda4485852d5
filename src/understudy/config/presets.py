"""The named methods: each is a set of defaults for a recipe, nothing more.

Every method is a point in: where the target text comes from x which divergence on its tokens x a schedule. A
recipe's own settings win over its preset's.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

BEAM = {"kind": "beam", "beams": 4}
SAMPLING = {"kind": "sampling", "top_k": 50, "top_p": 0.95, "temperature": 1.0}
HOT = SAMPLING | {"temperature": 1.5}
FORWARD_KL = {"kind": "forward_kl"}
DENSE = {"kind": "dense"}
CROSS_ENTROPY = {"kind": "cross_entropy"}

K = 8
"""Texts of the teacher for each input, where a method wants several; the paper's largest number is 48."""
LABELED_BEAM = {"inputs": ["labeled"], "per_input": 1, "decoding": BEAM}
ALL_BEAM = {"inputs": ["labeled", "unlabeled"], "per_input": 1, "decoding": BEAM}
ALL_SAMPLED = {"inputs": ["labeled", "unlabeled"], "per_input": K, "decoding": SAMPLING}
UNLABELED_SAMPLED = {"inputs": ["unlabeled"], "per_input": 1, "decoding": SAMPLING | {"top_k": 0, "top_p": 1.0}}
STUDENTS_OWN = {"inputs": ["labeled", "unlabeled"], "per_input": 1, "decoding": SAMPLING}
"""Nothing is written by the teacher; `inputs` says what the student writes for."""

GOLD = {"gold": 1.0}
HALF = {"gold": 0.5, "teacher": 0.5}
TEACHER = {"gold": 0.1, "teacher": 0.9}
JOINT = {"gold": 0.1, "teacher": 0.45, "student": 0.45}
ON_POLICY = {"gold": 0.5, "student": 0.5}


@dataclass(frozen=True)
class Preset:
    """A method of the family."""

    meaning: str
    source: str
    distil: dict[str, Any]
    pseudo_targets: dict[str, Any] | None = None
    """None: no text but gold is learned."""
    training: dict[str, Any] | None = None
    """None: as any training."""

    def defaults(self) -> dict[str, Any]:
        """The part of a recipe this preset fills in."""
        parts = {"distil": self.distil, "pseudo_targets": self.pseudo_targets, "training": self.training}
        return {name: part for name, part in parts.items() if part}


def _mixture(targets: dict[str, float], objective: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"targets": targets, "objective": objective, **more}


PAPER = {
    "fine_tune": Preset(
        "The student learns gold text alone.",
        "Calderon et al. 2023, S3 (the baseline)",
        _mixture(GOLD, CROSS_ENTROPY),
    ),
    "logits_kd": Preset(
        "The student matches the teacher's distributions on gold text.",
        "Hinton et al. 2015; Calderon et al. 2023, S3",
        _mixture(GOLD, FORWARD_KL),
    ),
    "noisy_kd": Preset(
        "The student matches, on gold text, the distributions of a teacher whose dropout is on.",
        "Calderon et al. 2023, S3",
        _mixture(GOLD, FORWARD_KL, enable_teacher_dropout=True, teacher_logprobs=DENSE),
    ),
    "attention_relations_kd": Preset(
        "The student matches, on gold text, the teacher's distributions and, as much, which positions its last layers' "
        "queries, keys and values find alike.",
        "Wang et al. 2021 (arXiv:2012.15828); Calderon et al. 2023, S3",
        _mixture(GOLD, FORWARD_KL, relations={"of": "attention"}, teacher_logprobs=DENSE),
    ),
    "hidden_relations_kd": Preset(
        "The student matches, on gold text, the teacher's distributions and, as much, which positions its last hidden "
        "states find alike.",
        "Wang et al. 2021 (arXiv:2012.15828), with hidden states; Calderon et al. 2023",
        _mixture(GOLD, FORWARD_KL, relations={"of": "hidden"}, teacher_logprobs=DENSE),
    ),
    "sequence_level": Preset(
        "The student learns gold text and one beam-searched text of the teacher per labelled input.",
        "Kim & Rush 2016, section 3.2; Calderon et al. 2023, S4",
        _mixture(HALF, CROSS_ENTROPY),
        LABELED_BEAM,
    ),
    "logits_pt": Preset(
        "The student matches the teacher's distributions on gold text and on one text of the teacher per labelled "
        "input.",
        "Calderon et al. 2023, S4",
        _mixture(HALF, FORWARD_KL),
        LABELED_BEAM,
    ),
    "logits_pt_unlabeled": Preset(
        "The student matches the teacher's distributions on one text of the teacher per input, labelled or not, with "
        "gold mixed in.",
        "Calderon et al. 2023, S5",
        _mixture(TEACHER, FORWARD_KL),
        ALL_BEAM,
    ),
    "k_beams": Preset(
        f"The student matches the teacher's distributions on the {K} best beams per input in turn, with gold mixed in.",
        "Calderon et al. 2023, S6",
        _mixture(TEACHER, FORWARD_KL),
        ALL_BEAM | {"per_input": K, "decoding": {"kind": "k_beams", "beams": K}},
    ),
    "sampling": Preset(
        f"The student matches the teacher's distributions on {K} sampled texts per input in turn, with gold mixed in.",
        "Calderon et al. 2023, S7",
        _mixture(TEACHER, FORWARD_KL),
        ALL_SAMPLED,
    ),
    "hot_sampling": Preset(
        f"The student matches the teacher's distributions on {K} texts per input sampled at temperature 1.5, with gold "
        "mixed in.",
        "Calderon et al. 2023, S7",
        _mixture(TEACHER, FORWARD_KL),
        ALL_SAMPLED | {"decoding": HOT},
    ),
    "student_only": Preset(
        "The student matches the teacher's distributions on texts it samples itself, with gold mixed in.",
        "Calderon et al. 2023, S8",
        _mixture({"gold": 0.1, "student": 0.9}, FORWARD_KL),
        STUDENTS_OWN,
    ),
    "joint_teaching": Preset(
        "The student matches the teacher's distributions, half on texts the teacher sampled, half on texts it samples "
        "itself, with gold mixed in.",
        "Calderon et al. 2023, S8, section 5.3",
        _mixture(JOINT, FORWARD_KL),
        ALL_SAMPLED,
    ),
    "extreme_fine_tune": Preset(
        "The student learns texts of the teacher as labels, and no gold: all that a teacher behind an endpoint needs.",
        "Kim & Rush 2016; Calderon et al. 2023, the extreme set-up (Table 7)",
        _mixture({"teacher": 1.0}, CROSS_ENTROPY),
        UNLABELED_SAMPLED,
    ),
    "extreme_logits": Preset(
        "The student matches, on texts of the teacher, the distributions that it told while it wrote, and no gold.",
        "Calderon et al. 2023, the extreme set-up (Table 7)",
        _mixture({"teacher": 1.0}, FORWARD_KL),
        UNLABELED_SAMPLED,
    ),
}
"""The methods of the paper, in its order."""

BEYOND = {
    "gkd": Preset(
        "The student matches the teacher's distributions by JSD, half on gold text, half on texts it samples itself.",
        "Agarwal et al. 2024 (arXiv:2306.13649): beta 0.5, lambda 0.5",
        _mixture(ON_POLICY, {"kind": "jsd", "beta": 0.5}),
        STUDENTS_OWN,
    ),
    "imitkd": Preset(
        "The student learns the teacher's most probable next token on gold text at first, on its own texts later.",
        "Lin et al. 2020 (EMNLP): gold with probability 200^(-t/N)",
        _mixture(ON_POLICY, {"kind": "argmax_cross_entropy"}, student_samples={"share": {"kind": "growing"}}),
        STUDENTS_OWN,
    ),
    "f_distill_js": Preset(
        "The student matches the teacher's distributions by JSD, half on texts the teacher sampled, half on its own.",
        "Wen et al. 2023 (arXiv:2307.15190)",
        _mixture(JOINT, {"kind": "jsd", "beta": 0.5}),
        ALL_SAMPLED,
    ),
    "f_distill_tvd": Preset(
        "The student matches the teacher's distributions by total variation, half on texts the teacher sampled, half "
        "on its own.",
        "Wen et al. 2023 (arXiv:2307.15190)",
        _mixture(JOINT, {"kind": "tvd"}),
        ALL_SAMPLED,
    ),
    "distillm": Preset(
        "The student matches the teacher's distributions by skew KL on gold text, and, as dev demands, on replayed "
        "texts of its own.",
        "Ko et al. 2024 (arXiv:2402.03898): alpha 0.1, adaptive share, replay",
        _mixture(
            ON_POLICY,
            {"kind": "skew_kl", "alpha": 0.1},
            student_samples={"share": {"kind": "adaptive", "step": 0.1}, "max_age": 4},
        ),
        STUDENTS_OWN,
    ),
    "distillm2": Preset(
        "The student matches the teacher's distributions by skew KL on the teacher's texts, by skew reverse KL on its "
        "own.",
        "Ko et al. 2025 (arXiv:2503.07067)",
        _mixture(
            JOINT,
            {"kind": "skew_kl", "alpha": 0.1},
            student_samples_objective={"kind": "skew_reverse_kl", "alpha": 0.1},
        ),
        ALL_SAMPLED,
    ),
    "taid": Preset(
        "The student matches, on texts the teacher sampled, a distribution that moves from its own to the teacher's.",
        "Shing et al. 2025 (arXiv:2501.16937)",
        _mixture(TEACHER, {"kind": "taid"}),
        ALL_SAMPLED,
    ),
    "pseudo_label_regularisation": Preset(
        f"The student learns gold text and, as much, {K} sampled texts of the teacher per labelled input in turn.",
        "Pseudo-label regularisation, NAACL Findings 2024, with l = 1/2",
        _mixture(HALF, CROSS_ENTROPY),
        ALL_SAMPLED | {"inputs": ["labeled"]},
    ),
    "self_distillation": Preset(
        "The student learns gold text and its teacher's texts, then writes texts itself and teaches its successor.",
        "Furlanello et al. 2018 (arXiv:1805.04770); arXiv:2501.16226, 2025",
        _mixture({"gold": 0.1, "teacher": 0.9}, CROSS_ENTROPY, generations=2),
        ALL_BEAM,
    ),
    "joint_teaching_swa": Preset(
        "The student learns by joint_teaching without dropout, at a level rate, and is the mean of its last weights.",
        "Calderon et al. 2023, S8; Izmailov et al. 2018 (arXiv:1803.05407); no dropout: understudy 2026",
        _mixture(JOINT, FORWARD_KL, enable_student_dropout=False),
        ALL_SAMPLED,
        {"schedule": "constant", "keep_weights": "average"},
    ),
}
"""Methods beyond it. Where theirs learn from a fixed data set, gold or the teacher's pool stands in its place."""

PRESETS = MappingProxyType(PAPER | BEYOND)
