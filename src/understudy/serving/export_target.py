"""What the formats of an export write, and where."""

from dataclasses import dataclass
from pathlib import Path

from understudy.models.task_tokenizer import TaskTokenizer, checkpoint_task_tokenizer
from understudy.serving.deployment import Deployment


@dataclass(frozen=True)
class ExportTarget:
    """A deployment that is written to a folder in a precision."""

    deployment: Deployment
    reader: TaskTokenizer
    precision: str
    """Type of the weights, as its format calls it."""
    folder: Path


def export_target(deployment: Deployment, precision: str, folder: Path) -> ExportTarget:
    """A target with a tokenizer of its own, which a format may change.

    Raises:
        ModelError: if the checkpoint cannot be read.
    """
    reader = checkpoint_task_tokenizer(deployment.limits, str(deployment.checkpoint))
    return ExportTarget(deployment, reader, precision, folder)
