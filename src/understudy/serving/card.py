"""The model card of an export: a README.md with the scores as `model-index`, which the Hugging Face hub reads.

What the run measured comes from its report; what only the user can know (licences, terms) is in `Statements`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import yaml

from understudy.errors import ConfigError, unknown_name
from understudy.report.facts import FINE_TUNED, TEACHER, Facts, ScoreFacts, SystemFacts, metrics_of, system_named
from understudy.report.formatting import decimal_places, fixed, metric_heading, signed, system_label
from understudy.serving.family_notices import family_notices

_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""The form of a licence that the hub knows by its id."""


@dataclass(frozen=True, slots=True)
class Statements:
    """What the user states of the export; None: nothing."""

    data_licence: str | None = None
    teacher_licence: str | None = None
    """Licence of the teacher, or the terms of its API."""
    student_licence: str | None = None
    language: str | None = None
    notes: str | None = None
    """Further limits, uses or contacts."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How the texts of the exported files compare with those that were evaluated."""

    texts: int
    equal: int
    metric: str | None = None
    """The metric of the difference; None where all texts are equal, or no metric of the task can compare them."""
    difference: float = 0.0
    """In the metric's unit, positive where the export is better."""
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class CardContent:
    """What a card says beyond the report."""

    name: str
    """Name of the run."""
    system: str
    """Name of the system in the report."""
    format: str
    precision: str
    decoding: str
    """The evaluated decoding in words."""
    prompt: str
    limits: tuple[int, int]
    """Most tokens of a source and of a text."""
    teacher: str
    """What the teacher is: a name, or its sizes."""
    start: str
    """What the student was before it was trained."""
    families: tuple[str, ...]
    """Families of the pretrained models that student and teacher began as."""
    proof: Proof
    remarks: tuple[str, ...] = ()
    """What the format cannot express, as sentences."""


HUB_LIBRARIES = {"hf": "transformers", "ct2": "ctranslate2", "gguf": "gguf"}


def statements_of(pairs: Iterable[str]) -> Statements:
    """The statements of texts like `data_licence=CC-BY-4.0`.

    Raises:
        ConfigError: for an unknown key, or a text without a value.
    """
    known, found = [field.name for field in fields(Statements)], dict[str, str]()
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in known:
            raise unknown_name("statement of --card", key, known)
        if not value.strip():
            raise ConfigError(f"--card {pair!r} states nothing; write {key}=VALUE")
        found[key] = value.strip()
    return Statements(**found)


def terms_warning(facts: Facts, statements: Statements) -> str | None:
    """A warning where the teacher is behind an API and the user states no terms."""
    if "api_responses" not in facts or statements.teacher_licence:
        return None
    return (
        "The teacher is behind an API, and no terms were stated. The terms of many APIs restrict training other models "
        "on their outputs: read them before you use or publish it, and state them with --card teacher_licence=..."
    )


def model_card(facts: Facts, content: CardContent, statements: Statements) -> str:
    """The text of README.md."""
    parts = [
        _front_matter(facts, content, statements),
        f"# {content.name}",
        _summary(facts, content),
        '## Use\n\n    python example.py "a source"\n\n`example.py` is all that an application needs. '
        + _inputs(content),
        _task(facts, content, statements),
        _scores(facts, content),
        f"## This export\n\n{_proof_text(facts, content)}",
        _limits(facts, content, statements),
        _licences(facts, content, statements),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _front_matter(facts: Facts, content: CardContent, statements: Statements) -> str:
    licence = statements.student_licence
    known = licence is not None and _ID.fullmatch(licence) is not None
    entries: dict[str, object] = {
        **({"language": statements.language} if statements.language else {}),
        **({"license": licence if known else "other"} if licence else {}),
        **({"license_name": licence} if licence and not known else {}),
        "library_name": HUB_LIBRARIES[content.format],
        "tags": ["distillation", "understudy"],
    }
    system = system_named(facts, content.system)
    if system:
        entries["model-index"] = [{"name": content.name, "results": [_result(facts, system)]}]
    written = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{written}---"


def _result(facts: Facts, system: SystemFacts) -> dict[str, object]:
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": facts["task"], "type": "private", "split": facts.get("split", "test")},
        "metrics": [_indexed(metric, score) for metric, score in system["scores"].items()],
    }


def _indexed(metric: str, score: ScoreFacts) -> dict[str, object]:
    args = {"interval": "95 %, bootstrap over examples", "low": score["low"], "high": score["high"]}
    return {"type": metric, "name": score["label"], "value": score["value"], "args": args}


def _summary(facts: Facts, content: CardContent) -> str:
    system = system_named(facts, content.system)
    size = f" with {system['parameters']:,} parameters" if system and system["parameters"] else ""
    kind = "a student distilled from" if content.system == facts["method"] else f"the system `{content.system}` next to"
    return (
        f"A text generator for one task{size}: {kind} a larger teacher ({content.teacher}) with understudy. "
        f"Format `{content.format}`, weights in {content.precision}."
    )


def _inputs(content: CardContent) -> str:
    how = "The prompt is" if content.prompt != "{source}" else "The source is the whole prompt"
    quoted = "" if content.prompt == "{source}" else f"\n\n```text\n{content.prompt}\n```\n\n"
    where = "`prompt.json` and, for decoder-only models, the chat template hold how a source becomes the input"
    return (
        f"{how}{quoted or '. '}{where}: one message of the user is one source. A source may have {content.limits[0]} "
        f"tokens and a text {content.limits[1]}. The evaluated decoding is {content.decoding}."
    )


def _task(facts: Facts, content: CardContent, statements: Statements) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in facts.get("data", {}).items())
    return "\n".join(
        [
            "## Task, data and method\n",
            f"- Task: {facts['task']}",
            f"- Data: {counts or 'not recorded'}; licence: {statements.data_licence or 'not stated'}",
            f"- Teacher: {content.teacher}; licence or terms: {statements.teacher_licence or 'not stated'}",
            f"- Student before training: {content.start}",
            f"- Method: `{facts['method']}`",
            *([f"- Measured on {facts['date']}"] if "date" in facts else []),
        ]
    )


def _scores(facts: Facts, content: CardContent) -> str:
    metrics = metrics_of(facts)
    names = [name for name in dict.fromkeys((content.system, TEACHER, FINE_TUNED)) if system_named(facts, name)]
    rows = [
        "| system | " + " | ".join(metric_heading(facts, metric) for metric in metrics) + " |",
        "| --- |" + " --- |" * len(metrics),
        *(f"| {_row_name(name, content)} | {' | '.join(_cells(facts, name, metrics))} |" for name in names),
    ]
    head = (
        f"## Scores\n\nOn the {facts.get('split', 'test')} split, with 95 % intervals (bootstrap over examples). These "
    )
    head += (
        "are the scores of the system that was evaluated, in float32; the next section compares this export with it."
    )
    return head + "\n\n" + "\n".join(rows)


def _row_name(name: str, content: CardContent) -> str:
    return f"**this model** ({system_label(name).lower()})" if name == content.system else system_label(name)


def _cells(facts: Facts, name: str, metrics: Sequence[str]) -> list[str]:
    system = system_named(facts, name)
    cells = []
    for metric in metrics:
        score, places = (system or {"scores": {}})["scores"].get(metric), decimal_places(facts, metric)
        cells.append(
            f"{fixed(score['value'], places)} [{fixed(score['low'], places)}, {fixed(score['high'], places)}]"
            if score
            else "–"
        )
    return cells


def _proof_text(facts: Facts, content: CardContent) -> str:
    proof = content.proof
    found = (
        f"The exported files generate the evaluated text for all {proof.texts} inputs of the test split."
        if proof.equal == proof.texts
        else f"The exported files generate the evaluated text for {proof.equal} of {proof.texts} inputs of the test "
        "split."
    )
    if proof.metric is not None:
        places = decimal_places(facts, proof.metric)
        found += (
            f" Their {metric_heading(facts, proof.metric)} differs by {signed(proof.difference, places)} "
            f"[{signed(proof.low, places)}, {signed(proof.high, places)}] (paired 95 % interval; negative is worse)."
        )
    return " ".join([found, *content.remarks])


def _limits(facts: Facts, content: CardContent, statements: Statements) -> str:
    sentences = [
        "The model was trained for this task alone; for other inputs its texts mean nothing.",
        f"Sources of more than {content.limits[0]} tokens were neither trained nor evaluated.",
        "A generated text may contain facts that are not in its source.",
        *facts.get("warnings", []),
        *facts.get("notes", []),
        *([statements.notes] if statements.notes else []),
    ]
    return "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in sentences)


def _licences(facts: Facts, content: CardContent, statements: Statements) -> str:
    warning = terms_warning(facts, statements)
    sentences = [
        f"Licence of this model: {statements.student_licence or 'not stated'}.",
        *([f"**Warning.** {warning}"] if warning else []),
        *family_notices(content.families),
    ]
    return "## Licences and notices\n\n" + "\n\n".join(sentences)
