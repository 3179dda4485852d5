"""The systems of a comparison: those of runs, and files of outputs, under the names that requirements use.

An argument is `[NAME=]PATH[:SYSTEM]`. A run named `new` has the systems `new:student` (short: `new`), `new:teacher` and
so on; those of the first run are also called `student`, `teacher`, `fine_tuned`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.config.task import FilesTask
from understudy.errors import DataError, EvaluationError, shortened, unknown_name
from understudy.evaluation.metrics import SystemOutputs
from understudy.evaluation.predictions import read_outputs
from understudy.pipeline.delivery import STUDENT
from understudy.pipeline.inspect.compare import signature_fields, system_decoding
from understudy.pipeline.inspect.open import OpenedRun, open_run
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.predictions import system_outputs
from understudy.records import Example
from understudy.store.stage import rows_key
from understudy.tasks.files import read_examples
from understudy.tasks.record import Log
from understudy.tasks.task_records import DEFAULT_FIELDS


@dataclass(frozen=True, slots=True)
class ComparedSystem:
    """One system with its outputs."""

    name: str
    origin: str
    outputs: SystemOutputs
    fields: Mapping[str, str]
    """For the signatures of its scores."""
    prompt: str
    """What its inputs contained in addition to the source; an output that states it invents nothing."""
    decoding: str | None = None
    run: OpenedRun | None = None
    run_system: str = ""
    """Its name in the run."""


@dataclass(frozen=True)
class ComparedSources:
    """The arguments of a comparison, opened, and every name of a system."""

    listed: tuple[str, ...]
    """The systems that the arguments name, the candidate first."""
    names: Mapping[str, str]
    """Every name that may be used -> the system's full name."""
    places: Mapping[str, tuple[OpenedRun | Path, str]]
    """Full name -> its run and its name in the run, or the file of its outputs."""
    first_run: OpenedRun | None
    examples: Sequence[Example]
    """What files of outputs are compared with; empty where there are none."""
    log: Log
    """Is called with what is noticed in files of outputs."""


def open_sources(
    arguments: Sequence[str | Path], references: str | Path | None, *, split: str, log: Log
) -> ComparedSources:
    """Opens runs and finds files of outputs.

    Args:
        arguments: the candidate first.
        references: a labeled file, where there is no run.
        split: dev or test.
        log: is called with what is noticed in files.

    Raises:
        DataError: if a path does not exist.
        EvaluationError: if two systems have one name, or it is not known what outputs are compared with.
        StoreError: if a folder holds no finished run.
    """
    opened: dict[str, OpenedRun | Path] = {}
    listed: list[str] = []
    names: dict[str, str] = {}
    places: dict[str, tuple[OpenedRun | Path, str]] = {}
    for argument in map(str, arguments):
        name, path, system = parse_argument(argument)
        known = opened.get(name)
        if known is not None and path.resolve() != (known.folder if isinstance(known, OpenedRun) else known.resolve()):
            raise EvaluationError(
                f"{argument} would be the second system named {name!r}; name it yourself, as other={argument}"
            )
        if known is None:
            opened[name] = open_run(path) if path.is_dir() else path
            _add_names(name, opened[name], names, places)
        full = name if system is None else f"{name}:{system}"
        if full not in names:
            raise unknown_name("system", full, names)
        if names[full] in listed:
            raise EvaluationError(f"{names[full]} is given twice; give each system once")
        listed.append(names[full])
    first_run = next((own for own in opened.values() if isinstance(own, OpenedRun)), None)
    if first_run:
        _add_short_names(next(name for name, own in opened.items() if own is first_run), first_run, names)
    has_files = any(isinstance(own, Path) for own in opened.values())
    examples = _examples(first_run, references, split, log) if has_files or references is not None else ()
    return ComparedSources(tuple(listed), names, places, first_run, examples, log)


def parse_argument(argument: str) -> tuple[str, Path, str | None]:
    """The name, the path and the system of an argument; whatever exists under the whole text is a path.

    Raises:
        DataError: if there is no such path.
    """
    name, rest, system = "", argument, None
    # `Path.exists` raises for names that are too long.
    if not os.path.exists(rest) and "=" in rest:  # noqa: PTH110
        name, _, rest = rest.partition("=")
    if not os.path.exists(rest) and ":" in rest:  # noqa: PTH110
        rest, _, system = rest.rpartition(":")
    path = Path(rest)
    if not os.path.exists(rest):  # noqa: PTH110
        raise DataError(
            f"{shortened(argument)}: there is no {shortened(rest)}; give the folder of a finished run or a file of "
            "outputs"
        )
    return name or (path.resolve().name if path.is_dir() else path.stem), path, system


def load_systems(sources: ComparedSources, names: Iterable[str], split: str) -> dict[str, ComparedSystem]:
    """The outputs of these systems, all on one test set, with the ids of the first.

    Raises:
        DataError: if a file cannot be read.
        EvaluationError: if outputs do not fit the test set, or the test sets differ.
        StoreError: if predictions of a run were deleted.
    """
    found: dict[str, ComparedSystem] = {}
    for name in names:
        place, system = sources.places[name]
        own = (
            _system_of_run(name, place, system, split)
            if isinstance(place, OpenedRun)
            else _system_of_file(name, place, sources, split)
        )
        found[name] = on_test_set_of(next(iter(found.values()), own), own)
    return found


def split_digest(system: ComparedSystem) -> str:
    """A digest of the inputs and references that a system was evaluated on; ids do not matter."""
    return rows_key([one.source, list(one.references)] for one in system.outputs.predictions)


def on_test_set_of(first: ComparedSystem, other: ComparedSystem) -> ComparedSystem:
    """The other system with the ids of the first.

    Raises:
        EvaluationError: if the inputs or the references differ; with what they share.
    """
    own, others = first.outputs.predictions, other.outputs.predictions
    digests = split_digest(first), split_digest(other)
    if digests[0] == digests[1]:
        renamed = [replace(one, id=same.id) for one, same in zip(others, own, strict=True)]
        return replace(other, outputs=replace(other.outputs, predictions=renamed))
    references = {one.source: one.references for one in own}
    shared = [one for one in others if one.source in references]
    equal = sum(one.references == references[one.source] for one in shared)
    order = ", in another order" if equal == len(own) == len(others) else ""
    raise EvaluationError(
        f"{first.name} and {other.name} were evaluated on different test sets: {len(own)} inputs (digest {digests[0]}) "
        f"and {len(others)} (digest {digests[1]}), of which {len(shared)} inputs are shared and {equal} of these have "
        f"equal references{order}; compare systems on one test set"
    )


def _add_names(
    name: str,
    own: OpenedRun | Path,
    names: dict[str, str],
    places: dict[str, tuple[OpenedRun | Path, str]],
) -> None:
    if isinstance(own, Path):
        names[name], places[name] = name, (own, "")
        return
    method = own.facts["method"]
    for system in own.systems:
        full = f"{name}:{STUDENT if system == method else system}"
        names[full] = names[f"{name}:{system}"] = full
        places[full] = own, system
    names[name] = f"{name}:{STUDENT}"


def _add_short_names(name: str, run: OpenedRun, names: dict[str, str]) -> None:
    """The systems of the first run without its name."""
    for short in dict.fromkeys((STUDENT, *run.systems)):
        if short in names:
            raise EvaluationError(
                f"{short!r} is the name of an argument and of a system of the run {name!r}; name the argument "
                "yourself, as other=PATH"
            )
        names[short] = names[f"{name}:{short}"]


def _examples(first_run: OpenedRun | None, references: str | Path | None, split: str, log: Log) -> Sequence[Example]:
    """The inputs and references of the test set, for files of outputs."""
    if first_run and references is not None:
        raise EvaluationError(
            f"{references} is not needed: outputs are compared with the test set of the run in {first_run.folder}; "
            "leave --references out"
        )
    if first_run:
        return load_split(first_run.stage("examples"), split)
    if references is None:
        raise EvaluationError(
            "files of outputs are compared with references, and there is no run that has them; give --references FILE, "
            "a labeled file"
        )
    return read_examples(Path(references), split="test", labeled=True, log=log)


def _system_of_run(name: str, run: OpenedRun, system: str, split: str) -> ComparedSystem:
    return ComparedSystem(
        name=name,
        origin=str(run.folder),
        outputs=system_outputs(run.predictions(system), split),
        fields=signature_fields(run, system, split),
        prompt=_prompt(run),
        decoding=system_decoding(run, system),
        run=run,
        run_system=system,
    )


def _system_of_file(name: str, file: Path, sources: ComparedSources, split: str) -> ComparedSystem:
    run = sources.first_run
    fields = run.recipe.task.fields if run and isinstance(run.recipe.task, FilesTask) else DEFAULT_FIELDS
    outputs = SystemOutputs(read_outputs(file, sources.examples, source=fields.source, log=sources.log))
    own = ComparedSystem(name, str(file), outputs, {}, _prompt(run) if run else "")
    return replace(own, fields=signature_fields(run, "", split) if run else {"data": split_digest(own)[:8]})


def _prompt(run: OpenedRun) -> str:
    return run.recipe.task.prompt.replace("{source}", " ").strip()
