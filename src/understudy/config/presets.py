"""The named methods. Each is a set of default values for a recipe; the recipe's own settings override them.

Every method combines an origin of the target text, a divergence on its tokens, and a schedule.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from understudy.errors import ConfigError, unknown_name

BEAM = {"kind": "beam", "beams": 4}
SAMPLING = {"kind": "sampling", "top_k": 50, "top_p": 0.95, "temperature": 1.0}
HOT_SAMPLING = SAMPLING | {"temperature": 1.5}
FORWARD_KL = {"kind": "forward_kl"}
DENSE = {"kind": "dense"}
SPARSE_64 = {"kind": "sparse", "top": 64, "top_p": 1.0}
"""For objectives that truncation changes more than forward KL (config/truncation.py)."""
CROSS_ENTROPY = {"kind": "cross_entropy"}

K = 8
"""Teacher texts per input in methods that use several; the paper uses up to 48."""
LABELED_BEAM = {"inputs": ["labeled"], "per_input": 1, "decoding": BEAM}
ALL_BEAM = {"inputs": ["labeled", "unlabeled"], "per_input": 1, "decoding": BEAM}
ALL_SAMPLED = {"inputs": ["labeled", "unlabeled"], "per_input": K, "decoding": SAMPLING}
UNLABELED_SAMPLED = {"inputs": ["unlabeled"], "per_input": 1, "decoding": SAMPLING | {"top_k": 0, "top_p": 1.0}}
STUDENT_SAMPLED = {"inputs": ["labeled", "unlabeled"], "per_input": 1, "decoding": SAMPLING}
"""The teacher generates nothing; `inputs` are those for which the student generates texts."""

GOLD_ONLY = {"gold": 1.0}
GOLD_AND_TEACHER = {"gold": 0.5, "teacher": 0.5}
MOSTLY_TEACHER = {"gold": 0.1, "teacher": 0.9}
TEACHER_AND_STUDENT = {"gold": 0.1, "teacher": 0.45, "student": 0.45}
GOLD_AND_STUDENT = {"gold": 0.5, "student": 0.5}


@dataclass(frozen=True)
class Preset:
    """A named method."""

    meaning: str
    """One sentence for users."""
    source: str
    """The paper it comes from."""
    distil: dict[str, Any]
    """Defaults of the section `distil`."""
    pseudo_targets: dict[str, Any] | None = None
    """Defaults of `pseudo_targets`; None: the only targets are gold."""
    training: dict[str, Any] | None = None
    """Defaults of `training`; None: those of any training."""

    def defaults(self) -> dict[str, Any]:
        """The preset as a part of a recipe."""
        parts = {"distil": self.distil, "pseudo_targets": self.pseudo_targets, "training": self.training}
        return {name: part for name, part in parts.items() if part}


def _mixture(targets: dict[str, float], objective: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"targets": targets, "objective": objective, **more}


PAPER_METHODS = {
    "fine_tune": Preset(
        "The student is trained on gold targets only (the baseline).",
        "Calderon et al. 2023, S3 (the baseline)",
        _mixture(GOLD_ONLY, CROSS_ENTROPY),
    ),
    "logits_kd": Preset(
        "The student matches the teacher's token distributions on gold targets.",
        "Hinton et al. 2015; Calderon et al. 2023, S3",
        _mixture(GOLD_ONLY, FORWARD_KL),
    ),
    "noisy_kd": Preset(
        "The student matches the teacher's token distributions on gold targets, with the teacher's dropout active.",
        "Calderon et al. 2023, S3",
        _mixture(GOLD_ONLY, FORWARD_KL, enable_teacher_dropout=True, teacher_logprobs=DENSE),
    ),
    "attention_relations_kd": Preset(
        "The student matches, on gold targets, the teacher's token distributions and, with equal weight, the "
        "relations between the queries, keys and values of its last layers.",
        "Wang et al. 2021 (arXiv:2012.15828); Calderon et al. 2023, S3",
        _mixture(GOLD_ONLY, FORWARD_KL, relations={"of": "attention"}, teacher_logprobs=DENSE),
    ),
    "hidden_relations_kd": Preset(
        "The student matches, on gold targets, the teacher's token distributions and, with equal weight, the "
        "relations between its last hidden states.",
        "Wang et al. 2021 (arXiv:2012.15828), with hidden states; Calderon et al. 2023",
        _mixture(GOLD_ONLY, FORWARD_KL, relations={"of": "hidden"}, teacher_logprobs=DENSE),
    ),
    "sequence_level": Preset(
        "The student is trained on gold targets and one beam-search text of the teacher per labeled input.",
        "Kim & Rush 2016, section 3.2; Calderon et al. 2023, S4",
        _mixture(GOLD_AND_TEACHER, CROSS_ENTROPY),
        LABELED_BEAM,
    ),
    "logits_pt": Preset(
        "The student matches the teacher's token distributions on gold targets and on one beam-search text of the "
        "teacher per labeled input.",
        "Calderon et al. 2023, S4",
        _mixture(GOLD_AND_TEACHER, FORWARD_KL),
        LABELED_BEAM,
    ),
    "logits_pt_unlabeled": Preset(
        "The student matches the teacher's token distributions on one beam-search text of the teacher per labeled or "
        "unlabeled input, with some gold targets.",
        "Calderon et al. 2023, S5",
        _mixture(MOSTLY_TEACHER, FORWARD_KL),
        ALL_BEAM,
    ),
    "k_beams": Preset(
        f"The student matches the teacher's token distributions on the {K} best beam-search texts per input, in turn, "
        "with some gold targets.",
        "Calderon et al. 2023, S6",
        _mixture(MOSTLY_TEACHER, FORWARD_KL),
        ALL_BEAM | {"per_input": K, "decoding": {"kind": "k_beams", "beams": K}},
    ),
    "sampling": Preset(
        f"The student matches the teacher's token distributions on {K} sampled texts per input, in turn, with some "
        "gold targets.",
        "Calderon et al. 2023, S7",
        _mixture(MOSTLY_TEACHER, FORWARD_KL),
        ALL_SAMPLED,
    ),
    "hot_sampling": Preset(
        f"The student matches the teacher's token distributions on {K} texts per input sampled at temperature 1.5, in "
        "turn, with some gold targets.",
        "Calderon et al. 2023, S7",
        _mixture(MOSTLY_TEACHER, FORWARD_KL),
        ALL_SAMPLED | {"decoding": HOT_SAMPLING},
    ),
    "student_only": Preset(
        "The student matches the teacher's token distributions on texts it samples itself, with some gold targets.",
        "Calderon et al. 2023, S8",
        _mixture({"gold": 0.1, "student": 0.9}, FORWARD_KL),
        STUDENT_SAMPLED,
    ),
    "joint_teaching": Preset(
        "The student matches the teacher's token distributions, half on texts sampled from the teacher, half on texts "
        "it samples itself, with some gold targets.",
        "Calderon et al. 2023, S8, section 5.3",
        _mixture(TEACHER_AND_STUDENT, FORWARD_KL),
        ALL_SAMPLED,
    ),
    "extreme_fine_tune": Preset(
        "The student is trained on texts of the teacher as labels, without gold targets; a teacher behind an endpoint "
        "is enough.",
        "Kim & Rush 2016; Calderon et al. 2023, the extreme set-up (Table 7)",
        _mixture({"teacher": 1.0}, CROSS_ENTROPY),
        UNLABELED_SAMPLED,
    ),
    "extreme_logits": Preset(
        "The student matches, on texts of the teacher, the log-probabilities that the teacher returned with them, "
        "without gold targets.",
        "Calderon et al. 2023, the extreme set-up (Table 7)",
        # An API returns at most 20 tokens, and they cost money.
        _mixture({"teacher": 1.0}, FORWARD_KL, teacher_logprobs=SPARSE_64),
        UNLABELED_SAMPLED,
    ),
}
"""The methods of Calderon et al. 2023, in the paper's order."""

LATER_METHODS = {
    "gkd": Preset(
        "The student matches the teacher's token distributions by JSD, half on gold targets, half on texts it samples "
        "itself.",
        "Agarwal et al. 2024 (arXiv:2306.13649): beta 0.5, lambda 0.5",
        _mixture(GOLD_AND_STUDENT, {"kind": "jsd", "beta": 0.5}),
        STUDENT_SAMPLED,
    ),
    "imitkd": Preset(
        "The student is trained on the teacher's most probable next token, at first on gold targets, later on texts "
        "it samples itself.",
        "Lin et al. 2020 (EMNLP): gold with probability 200^(-t/N)",
        _mixture(GOLD_AND_STUDENT, {"kind": "argmax_cross_entropy"}, student_samples={"share": {"kind": "growing"}}),
        STUDENT_SAMPLED,
    ),
    "f_distill_js": Preset(
        "The student matches the teacher's token distributions by JSD, half on texts sampled from the teacher, half "
        "on texts it samples itself.",
        "Wen et al. 2023 (arXiv:2307.15190)",
        _mixture(TEACHER_AND_STUDENT, {"kind": "jsd", "beta": 0.5}),
        ALL_SAMPLED,
    ),
    "f_distill_tvd": Preset(
        "The student matches the teacher's token distributions by total variation distance, half on texts sampled "
        "from the teacher, half on texts it samples itself.",
        "Wen et al. 2023 (arXiv:2307.15190)",
        _mixture(TEACHER_AND_STUDENT, {"kind": "tvd"}, teacher_logprobs=SPARSE_64),
        ALL_SAMPLED,
    ),
    "distillm": Preset(
        "The student matches the teacher's token distributions by skew KL on gold targets and on replayed texts it "
        "samples itself; the share of the latter adapts to the dev score.",
        "Ko et al. 2024 (arXiv:2402.03898): alpha 0.1, adaptive share, replay",
        _mixture(
            GOLD_AND_STUDENT,
            {"kind": "skew_kl", "alpha": 0.1},
            student_samples={"share": {"kind": "adaptive", "step": 0.1}, "max_age": 4},
        ),
        STUDENT_SAMPLED,
    ),
    "distillm2": Preset(
        "The student matches the teacher's token distributions, by skew KL on texts sampled from the teacher, by skew "
        "reverse KL on texts it samples itself.",
        "Ko et al. 2025 (arXiv:2503.07067)",
        _mixture(
            TEACHER_AND_STUDENT,
            {"kind": "skew_kl", "alpha": 0.1},
            student_samples_objective={"kind": "skew_reverse_kl", "alpha": 0.1},
            teacher_logprobs=SPARSE_64,
        ),
        ALL_SAMPLED,
    ),
    "taid": Preset(
        "The student matches, on texts sampled from the teacher, a distribution that moves from its own to the "
        "teacher's.",
        "Shing et al. 2025 (arXiv:2501.16937)",
        _mixture(MOSTLY_TEACHER, {"kind": "taid"}, teacher_logprobs=SPARSE_64),
        ALL_SAMPLED,
    ),
    "pseudo_label_regularisation": Preset(
        f"The student is trained on gold targets and, with equal weight, on {K} sampled texts of the teacher per "
        "labeled input, in turn.",
        "Pseudo-label regularisation, NAACL Findings 2024, with l = 1/2",
        _mixture(GOLD_AND_TEACHER, CROSS_ENTROPY),
        ALL_SAMPLED | {"inputs": ["labeled"]},
    ),
    "self_distillation": Preset(
        "The student is trained on gold targets and texts of the teacher, then generates texts itself and becomes the "
        "teacher of a second student.",
        "Furlanello et al. 2018 (arXiv:1805.04770); arXiv:2501.16226, 2025",
        _mixture({"gold": 0.1, "teacher": 0.9}, CROSS_ENTROPY, generations=2),
        ALL_BEAM,
    ),
    "joint_teaching_swa": Preset(
        "The student is trained by joint_teaching without dropout and at a constant learning rate, and its last "
        "weights are averaged (stochastic weight averaging).",
        "Calderon et al. 2023, S8; Izmailov et al. 2018 (arXiv:1803.05407); no dropout: understudy 2026",
        _mixture(TEACHER_AND_STUDENT, FORWARD_KL, enable_student_dropout=False),
        ALL_SAMPLED,
        {"schedule": "constant", "keep_weights": "average"},
    ),
}
"""Methods of other papers. Where a paper uses a fixed data set, these use gold targets or the teacher's pool."""

PRESETS = MappingProxyType(PAPER_METHODS | LATER_METHODS)

RENAMED_METHODS = {"joint_teaching_quiet": "joint_teaching_swa"}
"""Old name -> new name."""


def preset_named(method: str) -> Preset:
    """The preset of a method.

    Raises:
        ConfigError: if there is no such method; it names the known ones, or the new name of a renamed one.
    """
    if method in RENAMED_METHODS:
        raise ConfigError(f"method {method!r} was renamed; use {RENAMED_METHODS[method]!r}")
    if method not in PRESETS:
        raise unknown_name("method", method, PRESETS)
    return PRESETS[method]
