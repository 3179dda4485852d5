"""Describes a data file that no recipe names yet: its format, its fields, what it holds, and the metrics that suit it.

Used by the command `init`. A file that fits several descriptions is refused with the candidates.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from understudy.config.task import Fields, Format
from understudy.errors import DataError, did_you_mean
from understudy.tasks.chat_formats import FORMATS, parsed, refuse_other_keys
from understudy.tasks.chat_turns import split_answer, turns_of
from understudy.tasks.file_formats import ReadOptions, read_records
from understudy.tasks.record import Log, Record, listed, no_log
from understudy.tasks.record_checks import id_of, targets_of, text_of
from understudy.tasks.task_records import COLUMNS, RecordSettings, recognised, task_records

SOURCE_NAMES = ("source", "input", "prompt", "question", "query", "document", "article", "dialogue", "text", "src")
TARGET_NAMES = ("target", "targets", "output", "completion", "answer", "response", "summary", "reference", "tgt")
"""Column names that are taken for the field if a file has exactly one of them."""
SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Beginnings of the Unicode names of letters of scripts that do not separate words by spaces."""
SAMPLED_TEXTS, SAMPLED_CHARACTERS = 500, 200
"""How much of a file decides its script."""
SHORT_TARGET = 4
"""BLEU counts sequences of four words."""


@dataclass(frozen=True)
class FileDescription:
    """What a file holds."""

    path: Path
    format: str
    """A key of `FORMATS`, or columns."""
    fields: Fields
    targets: Mapping[str, tuple[str, ...]]
    """Source -> its targets; empty where the file has none."""
    records: int
    ids: Mapping[str, str]
    """Source -> its first id; empty where the file has no usable ids."""

    @property
    def labeled(self) -> bool:
        """Whether the inputs have targets."""
        return any(self.targets.values())

    @property
    def texts(self) -> list[str]:
        """The texts that metrics compare: targets, or sources where there are none."""
        return [text for texts in self.targets.values() for text in texts] or list(self.targets)

    @property
    def script(self) -> str:
        """The script of most letters: spaceless, latin or other."""
        return script_of(self.texts)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that can work on such texts, the primary one first."""
        short = sum(len(text.split()) < SHORT_TARGET for text in self.texts)
        if self.script == "spaceless" or (self.labeled and short > len(self.texts) / 2):
            return ("chrf",)
        return ("bleu", "chrf", "rouge") if self.script == "latin" else ("bleu", "chrf")


def describe_file(
    path: Path, *, source: str | None = None, target: str | None = None, form: Format, log: Log = no_log
) -> FileDescription:
    """Reads a whole file and describes it.

    Args:
        path: the file.
        source: the column of the source; None: recognised by its name.
        target: the column of the target; None: recognised by its name.
        form: the format, or `auto`, and its settings.
        log: is called with what was recognised and left out.

    Raises:
        DataError: if the file or a record cannot be read, or what it holds is ambiguous.
    """
    first = next(read_records(path, ReadOptions(tsv_quotes=form.tsv_quotes)), None)
    if first is None:
        raise DataError(f"{path}: contains no records; init needs at least one")
    name: str = form.labeled
    if name == "auto":
        name = recognised(first, Fields(source=source or "source"), no_log)
    if name != COLUMNS and (source or target):
        raise DataError(f"{path}: format {name} has no columns; leave the names of source and target out")
    fields = column_fields(list(first.values), source, target, str(path)) if name == COLUMNS else Fields()
    columns = {fields.target, fields.targets}
    labeled = bool(columns & set(first.values)) if name == COLUMNS else has_answer(name, first)
    one_format = form.model_copy(update=dict.fromkeys(("labeled", "unlabeled"), name))
    return read_description(path, RecordSettings(fields, one_format, log), name, labeled=labeled)


def column_fields(columns: Sequence[str], source: str | None, target: str | None, where: str) -> Fields:
    """The columns of source and target, by their names.

    Raises:
        DataError: if a column is not there, or several or none may be the source.
    """
    for name in (source, target):
        if name is not None and name not in columns:
            raise DataError(f"{where}: no column {name!r}, found: {listed(columns)}{did_you_mean(name, columns)}")
    source = source or one_of(columns if len(columns) == 1 else SOURCE_NAMES, columns, "source", where, needed=True)
    others = [name for name in columns if name != source]
    target = target or one_of(TARGET_NAMES, others, "target", where, needed=False)
    chosen = Fields(source=source or "source")
    if target in (None, chosen.targets):
        return chosen
    return chosen.model_copy(update={"target": target})


def one_of(names: Sequence[str], columns: Sequence[str], field: str, where: str, *, needed: bool) -> str | None:
    """The one column with a usual name of a field; None if there is none and none is needed."""
    found = [name for name in names if name in columns]
    if field in found:  # the name that recipes use is no guess
        return field
    if len(found) > 1 or (needed and not found):
        what = f"{', '.join(map(repr, found))} may each be" if found else "none of them has a usual name for"
        raise DataError(
            f"{where}: found the columns {listed(columns)}; {what} the {field}: name it with --{field}, and if the "
            "file has targets, these with --target"
        )
    return found[0] if found else None


def has_answer(name: str, first: Record) -> bool:
    """Whether the first record of a format holds an answer."""
    refuse_other_keys(first, name)
    if name in ("messages", "sharegpt"):
        return split_answer(turns_of(parsed(first, FORMATS[name].marks[0][0]), first.where))[1] is not None
    return "output" in first.values if name == "alpaca" else name != "batch_input"


def read_description(path: Path, settings: RecordSettings, name: str, *, labeled: bool) -> FileDescription:
    """Reads and checks all records of a file."""
    records = task_records(path, settings, split="labeled" if labeled else "unlabeled", labeled=labeled)
    return description_of(records, path, settings, name, labeled=labeled)


def description_of(
    given: Iterable[Record], path: Path, settings: RecordSettings, name: str, *, labeled: bool
) -> FileDescription:
    """Checks records under the task's field names, and describes them."""
    fields, owners = settings.fields, dict[str, str]()
    targets: dict[str, dict[str, None]] = {}
    ids: dict[str, str] = {}
    records, unique, has_ids = 0, True, False
    split = "labeled" if labeled else "unlabeled"
    for record in given:
        records += 1
        source = text_of(record, fields.source)
        name_of_it = id_of(record, fields.id, split)
        unique &= owners.setdefault(name_of_it, source) == source
        ids.setdefault(source, name_of_it)
        has_ids |= record.values.get(fields.id or "") is not None
        targets.setdefault(source, {}).update(dict.fromkeys(targets_of(record, fields) if labeled else ()))
    if not unique:
        settings.log(f"{path}: ids are used for several sources; the recipe generates ids (task.fields.id: null)")
        fields = fields.model_copy(update={"id": None})
    kept = ids if unique and has_ids else {}
    return FileDescription(path, name, fields, {source: tuple(own) for source, own in targets.items()}, records, kept)


def script_of(texts: Iterable[str]) -> str:
    """The script of most letters of some texts: spaceless, latin or other."""
    counts: Counter[str] = Counter()
    for text in islice(texts, SAMPLED_TEXTS):
        for character in filter(str.isalpha, text[:SAMPLED_CHARACTERS]):
            name = unicodedata.name(character, "")
            counts["spaceless" if name.startswith(SPACELESS) else "latin" if name.startswith("LATIN") else "other"] += 1
    return counts.most_common(1)[0][0] if counts else "latin"
