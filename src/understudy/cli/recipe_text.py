"""The text of the recipes that `understudy init` writes: YAML with comments, for each kind of data a teacher."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

LOCAL = """\
{head}
task:
  files:
{files}
{format}  prompt: "{{source}}"           # what the models read; {{source}} is replaced by the input
  metrics: [{metrics}]{metrics_note}
  primary_metric: {primary}      # chooses checkpoints and decides the verdict
  max_source_tokens: {source_tokens}        # inputs over the limit are refused, never truncated
  max_target_tokens: {target_tokens}
teacher:                       # any encoder-decoder or decoder-only checkpoint, by hub name or folder
  model: {teacher}
  finetune: {{learning_rate: 1.0e-4, epochs: 10}}
student:
  {student}  # or prune: {{from: teacher, decoder_layers: 2}}
  finetune: {{learning_rate: 3.0e-4, epochs: 10}}
pseudo_targets: {{inputs: [{inputs}], per_input: 4}}
distil: {{method: joint_teaching}}   # understudy methods lists all
training: {{learning_rate: 3.0e-4, epochs: 10}}
"""
ENDPOINT = """\
{head}
task:
  files:
{files}
{format}{held_out}  metrics: [{metrics}]{metrics_note}
  primary_metric: {primary}      # chooses checkpoints and decides the verdict
  max_source_tokens: {source_tokens}        # inputs over the limit are refused, never truncated
  max_target_tokens: {target_tokens}
teacher:
  endpoint:                    # any OpenAI-compatible server: docs/api-teacher.md
    model: {teacher}
    key: {key}        # the name of an environment variable
    {url}
    # What the teacher reads; {{source}} is replaced by the input. The student reads the input alone.
{system}    prompt: {prompt}
    max_tokens: {target_tokens}            # longer responses are cut by the server, and rejected
    {price}
{student}
pseudo_targets:
  inputs: [{inputs}]
  per_input: 4                 # texts of each input: more cost more and make a better student
  decoding: {{kind: sampling, top_k: 0, top_p: 1.0, temperature: 1.0}}
distil: {distil}
training: {training}
"""
CHECKPOINTS = {
    "latin": ("google-t5/t5-base", "google-t5/t5-small"),
    "other": ("google/mt5-base", "google/mt5-small"),
    "spaceless": ("google/mt5-base", "google/mt5-small"),
}
"""Script of the texts -> a teacher and a student that can write it."""


SCRATCH = "scratch: {architecture: bart, width: 96, encoder_layers: 2, decoder_layers: 1, heads: 4, feed_forward: 256}"
PRETRAINED_TRAINING, SCRATCH_TRAINING = (1.0e-3, 10_000), (2.0e-3, 40_000)
"""Learning rate, and how often an input is read at least: a few inputs need more epochs."""
LEAST_EPOCHS, EVALUATIONS = 20, 10


@dataclass(frozen=True)
class EndpointValues:
    """What a recipe's text says of a teacher behind an endpoint."""

    model: str = "gpt-4o-mini"
    url: str | None = None
    key: str = "OPENAI_API_KEY"
    prompt: str = "{source}"
    system: str | None = None
    price: tuple[float, float] | None = (0.15, 0.60)
    """Per million input and output tokens; None: not known."""
    budget: float | None = 5.0
    """None: no limit, because costs are not known."""


@dataclass(frozen=True)
class RecipeValues:
    """What a recipe's text says of the data."""

    name: str
    comment: str
    files: Mapping[str, str]
    """Split -> path, relative to the recipe's folder or absolute."""
    format: Mapping[str, object]
    """The section `task.format`; empty for columns."""
    fields: Mapping[str, object]
    """The section `task.fields`, without its defaults."""
    metrics: tuple[str, ...] = ("bleu", "chrf", "rouge")
    metrics_note: str = ""
    script: str = "latin"
    source_tokens: int = 256
    target_tokens: int = 64
    held_out: tuple[int, int] | None = None
    """Inputs that become dev and test; None where files hold these."""
    api_teacher: EndpointValues | None = None
    """None: a local teacher."""
    student: str | None = None
    """A checkpoint, or `scratch`; None: the checkpoint that suits the script."""
    inputs: int = 0
    """Inputs that are in no file of dev or test."""


def recipe_text(values: RecipeValues) -> str:
    """A recipe as YAML with comments."""
    teacher, student = CHECKPOINTS[values.script]
    lines = [f"  {key}: {_flow(own)}\n" for key, own in (("format", values.format), ("fields", values.fields)) if own]
    shared = {
        "head": "\n".join([*(f"# {line}" for line in values.comment.splitlines()), f"name: {values.name}"]),
        "files": "\n".join(f"    {split}: {_scalar(path)}" for split, path in values.files.items()),
        "format": "".join(lines),
        "metrics": ", ".join(values.metrics),
        "metrics_note": f"  # {values.metrics_note}" if values.metrics_note else "",
        "primary": values.metrics[0],
        "source_tokens": values.source_tokens,
        "target_tokens": values.target_tokens,
        "inputs": ", ".join(split for split in ("labeled", "unlabeled") if split in values.files),
        "student": SCRATCH if values.student == "scratch" else f"model: {_scalar(values.student or student)}",
    }
    if values.api_teacher is None:
        return LOCAL.format(**shared, teacher=teacher)
    return ENDPOINT.format(**shared | endpoint_parts(values, values.api_teacher, str(shared["student"])))


def endpoint_parts(values: RecipeValues, teacher: EndpointValues, student: str) -> dict[str, object]:
    """The parts of a recipe's text that only an API teacher has."""
    training = training_text(values)
    labeled = "labeled" in values.files
    held_out = (
        ""
        if values.held_out is None
        else (
            f"  held_out: {{dev: {values.held_out[0]}, test: {values.held_out[1]}}}"
            "  # never trained on; the teacher writes their references\n"
        )
    )
    return {
        "held_out": held_out,
        "teacher": _scalar(teacher.model),
        "key": teacher.key,
        "url": f"base_url: {_scalar(teacher.url)}" if teacher.url else "# base_url: http://127.0.0.1:8080/v1",
        "system": "" if teacher.system is None else f"    system: {_block(teacher.system)}\n",
        "prompt": _block(teacher.prompt),
        "price": price_text(teacher),
        # A student that is fine-tuned on the labels is what the distilled one is compared with.
        "student": f"student:\n  {student}" + (f"\n  finetune: {training}" if labeled else ""),
        "distil": f"{{method: extreme_fine_tune{', targets: {gold: 0.2, teacher: 0.8}' if labeled else ''}}}",
        "training": training,
    }


def training_text(values: RecipeValues) -> str:
    """The section `training` for the number of inputs: enough steps for few, and ten evaluations on dev."""
    rate, presentations = SCRATCH_TRAINING if values.student == "scratch" else PRETRAINED_TRAINING
    train_inputs = values.inputs - sum(values.held_out or ())
    epochs = max(LEAST_EPOCHS, math.ceil(presentations / max(1, train_inputs)))
    return (
        f"{{learning_rate: {rate}, epochs: {epochs}, batch_tokens: 2000, warmup_steps: 20, "
        f"evaluate_every: {epochs // EVALUATIONS}}}"
    )


def price_text(teacher: EndpointValues) -> str:
    """The price and the budget as lines; as a comment where the price is not known."""
    if teacher.price is None:
        return (
            "# price: {input: 0.15, output: 0.60}  # per million tokens; it is needed for a budget\n    # budget: 5.0"
        )
    source, target = teacher.price
    return (
        f"price: {{input: {source}, output: {target}}}  # per million tokens: check your provider's\n"
        f"    budget: {teacher.budget}                # requests stop before it is exceeded"
    )


def _flow(section: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in section.items()) + "}"


def _scalar(value: object) -> str:
    """A value as JSON, which is YAML whatever characters it holds."""
    return json.dumps(value, ensure_ascii=False)


def _block(text: str) -> str:
    """A text of several lines as they are, below the key; other texts quoted."""
    lines = text.split("\n")
    if len(lines) == 1 or lines[0][:1] in ("", " ") or not all(map(str.isprintable, lines)):
        return _scalar(text)
    return "|-\n" + "\n".join(f"      {line}" if line else "" for line in lines)
