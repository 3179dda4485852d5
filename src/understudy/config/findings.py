"""Turns pydantic's validation errors into messages: the path as the user wrote it, the value, the remedy."""

import types
import typing
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic_core import ErrorDetails

from understudy.config.section import Section
from understudy.errors import ConfigError, did_you_mean, shortened

RENAMED_KEYS = {
    "distil.noisy_student": "distil.enable_student_dropout",
    "distil.noisy_teacher": "distil.enable_teacher_dropout",
    "distil.on_student_text": "distil.student_samples_objective",
    "distil.student_text": "distil.student_samples",
    "distil.teacher_signal": "distil.teacher_logprobs",
    "distil.final_finetune.accumulate": "distil.final_finetune.gradient_accumulation_steps",
    "distil.final_finetune.keep": "distil.final_finetune.keep_weights",
    "evaluation.rounds": "evaluation.repeats",
    "pseudo_targets.keep": "pseudo_targets.select",
    "study.methods.stage": "study.methods.group",
    "student.finetune.accumulate": "student.finetune.gradient_accumulation_steps",
    "student.finetune.keep": "student.finetune.keep_weights",
    "teacher.finetune.accumulate": "teacher.finetune.gradient_accumulation_steps",
    "teacher.finetune.keep": "teacher.finetune.keep_weights",
    "teacher.pieces": "teacher.vocab_size",
    "training.accumulate": "training.gradient_accumulation_steps",
    "training.keep": "training.keep_weights",
}
"""Old path of a key -> new path. Keys of an endpoint file begin with `teacher.endpoint.`, those of a study with
`study.`; names of tasks and indices of rows are left out."""


EXPECTED = {
    "int_type": "a whole number such as 4",
    "int_from_float": "a whole number such as 4",
    "float_type": "a number such as 0.5",
    "bool_type": "true or false",
    "string_type": "text (a number or a date as text goes into quotes)",
    "tuple_type": "a list such as [a, b]",
    "dict_type": "keys with values",
    "path_type": "the path of a file",
    "none_required": "null",
}
"""Kind of error in pydantic -> what the setting should be."""


def invalid(where: str, findings: Iterable[str]) -> ConfigError:
    """The error that reports all findings in a file, a line each."""
    return ConfigError("\n".join([f"{where} cannot be used as written:", *findings]).replace("\n", "\n  "))


def findings_of(errors: Iterable[ErrorDetails], root: type[Section], *, prefix: str = "") -> list[str]:
    """A message for each error found by pydantic.

    Args:
        errors: the errors of a validation of `root`.
        root: the model that was validated.
        prefix: the beginning of this model's paths in RENAMED_KEYS.
    """
    errors = _joined_words(list(errors))
    given_by_old_key = {
        (*details["loc"][:-1], new) for details in errors if (new := _new_key(details, root, prefix)) is not None
    }
    return [
        message
        for details in errors
        if details["type"] != "missing" or details["loc"] not in given_by_old_key
        # A list whose entries were refused is empty for pydantic.
        if details["type"] != "too_short" or not any(_is_inside(other["loc"], details["loc"]) for other in errors)
        for message in _messages(details, root, prefix)
    ]


def _joined_words(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors, of which pydantic has one per type and one per set of words where a value may be either.

    An error about the type then has the words in its context; where there are only words, the first error has them all.
    """
    words: defaultdict[tuple[int | str, ...], list[str]] = defaultdict(list)
    for details in errors:
        if _is_word(details):
            words[details["loc"][:-1]].append(details["ctx"]["expected"])
    joined, seen = list[ErrorDetails](), set[tuple[int | str, ...]]()
    for details in errors:
        union = details["loc"][:-1]
        allowed = ", ".join(words.get(union, ()))
        if not _is_word(details):
            joined.append({**details, "ctx": {"words": allowed}} if allowed else details)
        elif union not in seen and all(_is_word(one) for one in errors if _is_inside(one["loc"], union)):
            joined.append({**details, "msg": f"Input should be {allowed}"})
        seen.add(union)
    return joined


def _is_word(details: ErrorDetails) -> bool:
    """Whether an error says which words a value that may be of several types can be."""
    return details["type"] == "literal_error" and str(details["loc"][-1]).startswith("literal[")


def _is_inside(inner: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    return len(inner) > len(outer) and tuple(inner[: len(outer)]) == tuple(outer)


def _messages(details: ErrorDetails, root: type[Section], prefix: str) -> Iterator[str]:
    kind, found = details["type"], shortened(details["input"])
    words = details.get("ctx", {}).get("words")
    if kind == "extra_forbidden":
        yield _unknown_key(details, root, prefix)
        return
    place = _walk(details["loc"], root)
    path = ".".join(place.parts)
    if kind == "missing":
        yield f"{path}: is missing; add it"
    elif kind == "value_error":  # one of our own: a line per conflict, each of which shows the values
        for message in details["msg"].removeprefix("Value error, ").splitlines():
            yield (f"{path}: {message}" if path else message) + (f"; or write {words}" if words else "")
    elif kind in {"union_tag_not_found", "union_tag_invalid"}:
        kinds = ", ".join(sorted(_tags(place.sections)))
        yield f"{path}: got {found}; kind is one of {kinds}{_missing_kind(details['input'], path, place.sections)}"
    elif kind in {"model_attributes_type", "model_type"}:
        yield f"{path}: expected a section, got {found}; {_keys(place.sections)}"
    elif kind == "too_short":
        yield f"{path}: is an empty list; name at least one"
    elif kind == "string_pattern_mismatch" and path.endswith("name"):
        yield f"{path}: got {found}; a name becomes a folder: begin with a letter or digit of ASCII, then also _ . -"
    elif kind in EXPECTED:
        yield f"{path}: expected {EXPECTED[kind]}{f' or {words}' if words else ''}, got {found}"
    else:
        yield f"{path}: {details['msg']}, got {found}"


@dataclass
class _Place:
    """A place in a file: its path, and the sections that may be there."""

    sections: set[type[Section]]
    parts: list[str] = field(default_factory=list)
    """The path as the user wrote it; the entries of a list are counted from 1."""
    schema_parts: list[str] = field(default_factory=list)
    """The path without the keys of mappings and the indices of lists."""


def _walk(location: Iterable[str | int], root: type[Section]) -> _Place:
    """Follows the location of an error from the root.

    pydantic puts the tag of a union's variant behind the union's own key, and the name of a type where a value
    may be of several; neither is a part of the user's path. A tag selects among the sections.
    """
    place, in_container = _Place({root}), False
    for part in location:
        if in_container:
            place.parts.append(f"entry {part + 1}" if isinstance(part, int) else str(part))
            in_container = False
        elif len(place.sections) > 1:
            place.sections = {s for s in place.sections if str(part) in _tags({s})}
        elif place.sections or isinstance(part, int):
            place.parts.append(f"entry {part + 1}" if isinstance(part, int) else str(part))
            place.schema_parts.append(str(part))
            fields = [s.model_fields[name] for s in place.sections for name in s.model_fields if name == part]
            place.sections = set().union(*(_sections(field.annotation) for field in fields))
            in_container = any(typing.get_origin(field.annotation) in {dict, tuple} for field in fields)
    return place


def _new_key(details: ErrorDetails, root: type[Section], prefix: str) -> str | None:
    """The new name of an unknown key, if it is an old one."""
    if details["type"] != "extra_forbidden":
        return None
    *location, key = details["loc"]
    new = RENAMED_KEYS.get(prefix + ".".join([*_walk(location, root).schema_parts, str(key)]))
    return new and new.rpartition(".")[2]


def _unknown_key(details: ErrorDetails, root: type[Section], prefix: str) -> str:
    place, key = _walk(details["loc"][:-1], root), str(details["loc"][-1])
    path = ".".join([*place.parts, key])
    if new := _new_key(details, root, prefix):
        return f"{path}: was renamed; write {new!r} instead of {key!r}"
    known = sorted(key for section in place.sections for key in _keys_of(section))
    return f"{path}: unknown key{did_you_mean(key, known)} (known here: {', '.join(known)})"


def _keys(sections: Collection[type[Section]]) -> str:
    """What can be written in a place where one of these sections is expected."""
    tags = ", ".join(sorted(_tags(sections)))
    if any("kind" in section.model_fields for section in sections):
        return f"write {{kind: ...}}, where kind is one of {tags}"
    return f"its keys are {tags}"


def _missing_kind(found: object, path: str, sections: Iterable[type[Section]]) -> str:
    """The kinds that have all keys of a section without `kind`, as a remedy; empty if none has them."""
    if not isinstance(found, dict) or not found or "kind" in found:
        return ""
    having = sorted(kind for one in sections if _keys_of(one) >= found.keys() for kind in _tags({one}))
    return f"; for {', '.join(map(str, found))} also set {path}.kind={' or '.join(having)}" if having else ""


def _keys_of(section: type[Section]) -> set[str]:
    return {field.alias or name for name, field in section.model_fields.items()}


def _tags(sections: Iterable[type[Section]]) -> set[str]:
    """The names of variants: their `kind`, or else all their keys."""
    kinds = {s.model_fields["kind"].default for s in sections if "kind" in s.model_fields}
    return kinds or set().union(*map(_keys_of, sections))


def _sections(annotation: object) -> set[type[Section]]:
    """The sections that occur in a type."""
    if isinstance(annotation, types.GenericAlias) or typing.get_args(annotation):
        return set().union(*(_sections(inner) for inner in typing.get_args(annotation)))
    return {annotation} if isinstance(annotation, type) and issubclass(annotation, Section) else set()
