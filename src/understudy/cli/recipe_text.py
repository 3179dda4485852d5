"""The text of the recipes that `understudy init` writes: YAML with comments, for each kind of data a teacher."""

import json
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
  model: {student}  # or {{prune: {{from: teacher, decoder_layers: 2}}}}
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
{format}  held_out: {{dev: {dev}, test: {test}}}  # never trained on; the teacher writes their references
  metrics: [{metrics}]{metrics_note}
  primary_metric: {primary}      # chooses checkpoints and decides the verdict
  max_source_tokens: {source_tokens}        # inputs over the limit are refused, never truncated
  max_target_tokens: {target_tokens}
teacher:
  endpoint:                    # any OpenAI-compatible server: docs/api-teacher.md
    model: gpt-4o-mini
    key: OPENAI_API_KEY        # the name of an environment variable
    # base_url: http://127.0.0.1:8080/v1
    prompt: "{{source}}"         # instructions and examples of the task belong here
    max_tokens: {target_tokens}
    price: {{input: 0.15, output: 0.60}}  # per million tokens: check your provider's
    budget: 5.0                # requests stop before it is exceeded
student:
  model: {student}
pseudo_targets: {{per_input: 1, decoding: {{kind: sampling, top_k: 0, top_p: 1.0, temperature: 1.0}}}}
distil: {{method: extreme_fine_tune}}
training: {{learning_rate: 1.0e-3, epochs: 20}}
"""
CHECKPOINTS = {
    "latin": ("google-t5/t5-base", "google-t5/t5-small"),
    "other": ("google/mt5-base", "google/mt5-small"),
    "spaceless": ("google/mt5-base", "google/mt5-small"),
}
"""Script of the texts -> a teacher and a student that can write it."""


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


def recipe_text(values: RecipeValues) -> str:
    """A recipe as YAML with comments."""
    teacher, student = CHECKPOINTS[values.script]
    dev, test = values.held_out or (0, 0)
    lines = [f"  {key}: {_flow(own)}\n" for key, own in (("format", values.format), ("fields", values.fields)) if own]
    return (ENDPOINT if values.held_out else LOCAL).format(
        head="\n".join([*(f"# {line}" for line in values.comment.splitlines()), f"name: {values.name}"]),
        files="\n".join(f"    {split}: {_scalar(path)}" for split, path in values.files.items()),
        format="".join(lines),
        metrics=", ".join(values.metrics),
        metrics_note=f"  # {values.metrics_note}" if values.metrics_note else "",
        primary=values.metrics[0],
        source_tokens=values.source_tokens,
        target_tokens=values.target_tokens,
        teacher=teacher,
        student=student,
        inputs=", ".join(split for split in ("labeled", "unlabeled") if split in values.files),
        dev=dev,
        test=test,
    )


def _flow(section: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in section.items()) + "}"


def _scalar(value: object) -> str:
    """A value as JSON, which is YAML whatever characters it holds."""
    return json.dumps(value, ensure_ascii=False)
