"""The tables on what systems generated: source consistency, and signs of a training that went wrong."""

from understudy.report.content_facts import HealthFacts, Interval
from understudy.report.facts import REFERENCES, Facts
from understudy.report.formatting import UNKNOWN, brackets, fixed, parameters, percent, system_label, whole
from understudy.report.tables import TextCell, TextTable
from understudy.report.verdict import CONSISTENCY_LABELS


def consistency_table(facts: Facts) -> TextTable:
    """Items that outputs omit or invent, one row per system and one for the references; no rows without facts."""
    head = ("System", *CONSISTENCY_LABELS.values(), "Outputs with such an item")
    consistency = facts.get("consistency")
    if consistency is None:
        return TextTable(head, ())
    return TextTable(
        head,
        tuple(
            (
                TextCell(_label(name)),
                _rate_cell(own["missing"]),
                _rate_cell(own["invented"]),
                TextCell(f"{own['outputs_with_invented']} of {consistency['outputs']}"),
            )
            for name, own in consistency["systems"].items()
        ),
    )


def health_table(facts: Facts) -> TextTable:
    """Signs of a training that went wrong, one row per system and one for the references; no rows without facts.

    The table of trainings has the steps.
    """
    head = (
        "System", "Trained parameters", "Warm-up", "Kept step", "Dev moved", "Outputs that repeat",
        "Length / reference", "Cut", "Top token as teacher",
    )  # fmt: skip
    rows = tuple(_health_row(name, own) for name, own in facts.get("health", {}).items())
    return TextTable(head, rows)


def layer_order_table(facts: Facts) -> TextTable:
    """The layers that were removed by loss, one row per step, after the whole teacher; no rows without facts."""
    head = ("Removed layer", "Loss, nats per token")
    order = facts.get("layer_order")
    if order is None:
        return TextTable(head, ())
    steps = [(f"{step['part']} layer {step['layer']}", step["loss"]) for step in order["removed"]]
    return TextTable(
        head, tuple((TextCell(name), TextCell(fixed(loss, 3))) for name, loss in [("none", order["loss"]), *steps])
    )


def teacher_logprobs_table(facts: Facts) -> TextTable:
    """What the cached teacher log-probabilities cost and leave out, one row per cache; no rows without facts."""
    head = ("Log-probabilities of", "Positions", "Bytes per position", "Kept tokens", "Kept mass", "Lost, nats")
    names = {"gold": "Gold targets", "teacher": "Pseudo-targets"}
    return TextTable(
        head,
        tuple(
            (
                TextCell(names[own["generator"]]),
                TextCell(whole(own["positions"])),
                TextCell(fixed(own["bytes_per_position"], 1)),
                TextCell(fixed(own["mean_kept"], 1)),
                TextCell(percent(own["mean_mass"], 1)),
                TextCell(fixed(own["lost_divergence"], 4)),
            )
            for own in facts.get("teacher_logprobs", [])
        ),
    )


def _health_row(name: str, own: HealthFacts) -> tuple[TextCell, ...]:
    moved = {None: UNKNOWN, True: "yes", False: "never"}[own["dev_moved"]]
    return (
        TextCell(_label(name)),
        TextCell(whole(own.get("trained_parameters"))),
        TextCell(whole(own["warmup_steps"])),
        TextCell(whole(own["kept_step"])),
        TextCell(moved),
        TextCell(percent(own["repetition"], 1)),
        TextCell(fixed(own["length_ratio"], 2)),
        TextCell(percent(own["unfinished"], 1)),
        TextCell(percent(own["top_token_agreement"]["value"], 1)),
    )


def _rate_cell(rate: Interval) -> TextCell:
    value = rate["value"]
    return TextCell(percent(None if value is None else value / 100, 1), brackets(rate, places=1))


def _label(name: str) -> str:
    return "References" if name == REFERENCES else system_label(name)


def vocabulary_table(facts: Facts) -> TextTable:
    """What trimming a vocabulary saves in parameters, and costs in tokens per text of dev."""
    return TextTable(
        ("Vocabulary", "Tokens", "Parameters", "Saved", "Tokens per text", "Tokens of dev kept"),
        tuple(
            (
                TextCell(system_label(own["system"])),
                TextCell(whole(own["tokens"]), f"of {whole(own['whole_tokens'])}"),
                TextCell(parameters(own["parameters"]), f"of {parameters(own['whole_parameters'])}"),
                TextCell(percent(1 - own["parameters"] / own["whole_parameters"])),
                TextCell(fixed(own["tokens_per_text"], 1), f"before {fixed(own['whole_tokens_per_text'], 1)}"),
                TextCell(percent(own["coverage"], 1)),
            )
            for own in facts.get("vocabularies", [])
        ),
    )


def left_out_table(facts: Facts) -> TextTable:
    """What was too long to be used, how much of it, why, and what to set; no rows where nothing was."""
    return TextTable(
        ("Too long", "Number", "Share", "Reason", "Remedy"),
        tuple(
            (
                TextCell(own["what"]),
                TextCell(whole(own["count"]), f"of {whole(own['of'])}"),
                TextCell(percent(own["count"] / own["of"], 1)),
                TextCell(own["reason"]),
                TextCell(own["remedy"]),
            )
            for own in facts.get("left_out", [])
        ),
    )


def token_map_table(facts: Facts) -> TextTable:
    """At which share of positions the tokens of a student with another tokenizer are the teacher's."""
    return TextTable(
        ("Texts", "Positions", "Same token", "Begins together", "Begins within", "Text only", "Mass kept"),
        tuple(
            (
                TextCell({"gold": "Gold", "teacher": "Pseudo-targets"}.get(own["texts"], own["texts"])),
                TextCell(whole(own["positions"])),
                TextCell(percent(own["exact"], 1)),
                TextCell(percent(own["merged"], 1)),
                TextCell(percent(own["inside"], 1)),
                TextCell(percent(own["text"], 1)),
                TextCell(percent(own["mass"], 1)),
            )
            for own in facts.get("token_map", [])
        ),
    )
