"""The recipe: all settings of a run in one closed, frozen model."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from understudy.config.conflicts import recipe_conflicts
from understudy.config.decoding import EngineName
from understudy.config.distil import Distil
from understudy.config.evaluation import Evaluation
from understudy.config.model_sections import AnyStudent, AnyTeacher
from understudy.config.numbers import Whole
from understudy.config.pseudo_targets import PseudoTargets
from understudy.config.section import Section
from understudy.config.task import AnyTask
from understudy.config.training import Precision, Training

Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
"""The range that all random generators in use accept."""
MOST_NAME_BYTES = 200
"""Bytes of a name: systems allow 255 in a file name. A letter may have four bytes."""


def _short(name: str) -> str:
    if len(name.encode()) > MOST_NAME_BYTES:
        msg = f"has {len(name.encode())} bytes; a file's name may have {MOST_NAME_BYTES}, choose a shorter one"
        raise ValueError(msg)
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$"), AfterValidator(_short)]
"""A name that can be part of a file name."""
TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Recipe(Section):
    """All settings of a run."""

    name: Name
    """Name of the run's folder."""
    seed: Seed = 13
    """Seed of the data, the teacher and, unless student_seed is set, the students."""
    student_seed: Seed | None = None
    """Seed of the students' weights, data order and samples, to train several with one teacher and pool; null: seed."""
    task: AnyTask
    """Data, prompt, metrics and length limits."""
    teacher: AnyTeacher
    """The model to distil from."""
    student: AnyStudent
    """The model to train."""
    pseudo_targets: PseudoTargets = PseudoTargets()
    """The texts that the teacher generates."""
    distil: Distil
    """The distillation method."""
    training: Training = Training()
    """How the distilled student is trained."""
    evaluation: Evaluation = Evaluation()
    """How systems are evaluated."""
    engine: EngineName = "auto"
    """The library that generates text."""
    precision: Precision = "auto"
    """Precision of training; auto is bf16 on CUDA and float32 on CPU, where interrupted runs resume to equal bytes."""

    tracker: TrackerName | None = None
    """An experiment tracker that receives losses and dev scores; null: only progress.jsonl in the run's folder."""

    @property
    def seed_of_students(self) -> int:
        """Seed of the students' weights, data order and samples."""
        return self.seed if self.student_seed is None else self.student_seed

    def conflicts(self) -> Iterator[str]:
        """Conflicts between sections."""
        yield from recipe_conflicts(dict(self))
