"""The command `init`: a commented recipe for the user's file, or a template with a place for data."""

import random
import re
import shlex
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.init_teacher import EndpointOptions, endpoint_values, refuse_prompt_twice
from understudy.cli.recipe_text import EndpointValues, RecipeValues, recipe_text
from understudy.errors import ConfigError

if TYPE_CHECKING:
    from understudy.records import Example
    from understudy.tasks.file_description import FileDescription

RECIPE_FILE, DATA_FOLDER = "recipe.yaml", "data"
DRAW_SEED = 13
"""Draws dev and test where the user asks for them."""
TOKENS_PER_WORD = 2
"""Tokens of a word, generously: limits that refuse an input are worse than limits that are never reached. Numbers,
signs and addresses have more, at most one for two characters or so."""


def init(  # noqa: PLR0913, PLR0917 - one argument per option of the command
    folder: Annotated[Path, typer.Argument(help="Folder of the recipe; created.", show_default=False)],
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Your data: JSONL, JSON, CSV, TSV or Parquet; or a folder of --keep-texts."
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the source.")] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column of the target.")] = None,
    format_: Annotated[str, typer.Option("--format", help="What the records hold (docs/data.md).")] = "auto",
    turns: Annotated[str, typer.Option(help="Conversations of several turns: refuse, last or all.")] = "refuse",
    batch_requests: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The input file of the batch, if FILE is its output.")
    ] = None,
    dev: Annotated[int, typer.Option(min=0, help="Draw this many labeled inputs as dev, into files.")] = 0,
    test: Annotated[int, typer.Option(min=0, help="Draw this many labeled inputs as test, into files.")] = 0,
    teacher_url: Annotated[str | None, typer.Option(metavar="URL", help="API teacher: its base URL.")] = None,
    teacher_model: Annotated[str | None, typer.Option(metavar="NAME", help="API teacher: its model.")] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="API teacher: the environment variable with the key.")
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="API teacher: the text it reads, with {source} for the input.")
    ] = None,
    system: Annotated[Path | None, typer.Option(metavar="FILE", help="API teacher: its system message.")] = None,
    max_target_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest target or response in tokens. Default: from the targets, or 128.")
    ] = None,
    price: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="INPUT OUTPUT", help="API teacher: price per million input and output tokens."),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="API teacher: the most that requests may cost.")] = None,
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="A checkpoint, or scratch: a network with random weights.")
    ] = None,
) -> None:
    """Write a commented recipe for your data, or a template with a place for data."""
    recipe = folder / RECIPE_FILE
    if recipe.exists() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{recipe if recipe.exists() else folder} exists already and is kept; name another folder")
    options = EndpointOptions(teacher_url, teacher_model, key_variable, prompt, system, price, budget)
    if from_ is None:
        of_a_file = {"--source": source, "--target": target, "--dev": dev, "--test": test, "--student": student}
        of_a_file |= {"--max-target-tokens": max_target_tokens}
        if unused := [*(name for name, value in of_a_file.items() if value), *options.given]:
            raise ConfigError(f"{', '.join(unused)} needs a data file, and --from names none; add --from FILE")
        values = template_values(folder)
    else:
        settings = {"turns": turns, "batch_requests": str(batch_requests.resolve()) if batch_requests else None}
        teacher = endpoint_values(options) if options.given else None
        columns = (source, target)
        values = values_of_file(from_.resolve(), folder, settings, format_, columns, (dev, test), teacher)
        limit = max_target_tokens or values.target_tokens
        values = replace(values, student=student, target_tokens=limit)
    write_recipe(folder, values, with_data=from_ is None)
    typer.echo(f"wrote {recipe}; next: understudy check {shlex.quote(str(recipe))}")


def write_recipe(folder: Path, values: RecipeValues, *, with_data: bool) -> None:
    """Writes a recipe after it was checked, and the folder of its data where there is a place for them."""
    from understudy.config.read import check_recipe
    from understudy.config.yaml_values import load_yaml
    from understudy.store.disk import write_text

    recipe, text = folder / RECIPE_FILE, recipe_text(values)
    check_recipe(load_yaml(text, str(recipe)), where="these options")  # type: ignore[arg-type]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if with_data:
            (folder / DATA_FOLDER).mkdir(exist_ok=True)
        write_text(recipe, text)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}); name another folder") from None


def template_values(folder: Path) -> RecipeValues:
    """The values of a recipe for files that do not exist yet."""
    files = {split: f"{DATA_FOLDER}/{split}.jsonl" for split in ("labeled", "unlabeled", "dev", "test")}
    comment = (
        'Put your data into the files below, a line for each example: {"source": "...", "target": "..."}\n'
        "(unlabeled: the source alone). docs/data.md has the other formats."
    )
    return RecipeValues(recipe_name(folder), comment, files, {}, {})


def values_of_file(
    path: Path,
    folder: Path,
    settings: dict[str, str | None],
    format_: str,
    columns: tuple[str | None, str | None],
    held_out: tuple[int, int],
    teacher: EndpointValues | None,
) -> RecipeValues:
    """The values of a recipe for a file; prints what was recognised in it."""
    from understudy.cli.init_records import describe_records, is_recorded
    from understudy.config.read import check_format
    from understudy.tasks.file_description import describe_file
    from understudy.tasks.text_lines import check_file

    recorded = is_recorded(path)
    if not recorded:
        check_file(path, missing="give --from the path of a data file")
    check_format(format_)  # its message about an unknown name is shorter than that of each split
    form = check_format({"labeled": format_, "unlabeled": format_, **settings})
    source, target = columns
    unlabeled: list[Example] | None = None
    if recorded:
        if source or target:
            raise ConfigError(f"{path} holds records, which have no columns; leave --source and --target out")
        described, unlabeled = describe_records(path, form, typer.echo)
    else:
        described = describe_file(path, source=source, target=target, form=form, log=typer.echo)
    refuse_prompt_twice(teacher, described.targets, path)
    comment, note = summary(described), metrics_note(described)
    typer.echo(comment)
    typer.echo(f"metrics: {', '.join(described.metrics)}" + (f" ({note})" if note else ""))
    split = "labeled" if described.labeled else "unlabeled"
    given = {key: value for key, value in settings.items() if value not in (None, "refuse")}
    values = RecipeValues(
        recipe_name(folder),
        comment,
        {split: str(path.relative_to(folder.resolve()) if path.is_relative_to(folder.resolve()) else path)},
        ({split: described.format} if described.format != "columns" else {}) | given,
        described.fields.model_dump(exclude_defaults=True),
        described.metrics,
        note,
        described.script,
        token_limit(list(described.targets), described.script),
        token_limit(described.texts, described.script) if described.labeled else 128,
        api_teacher=teacher if described.labeled else teacher or EndpointValues(),
        inputs=len(described.targets) + (len(unlabeled or ()) if described.labeled else 0) - sum(held_out),
    )
    return with_held_out(values, described, folder, *held_out, unlabeled)


def with_held_out(
    values: RecipeValues,
    described: "FileDescription",
    folder: Path,
    dev: int,
    test: int,
    unlabeled: "list[Example] | None" = None,
) -> RecipeValues:
    """The values with dev and test: files drawn on request, files to be written, or inputs that are held out.

    Records come with their `unlabeled` inputs, and are written as files: their folder grows.
    """
    inputs = len(described.targets)
    if not described.labeled:
        if dev or test:
            raise ConfigError(
                f"--dev and --test draw labeled inputs, and {described.path} has no targets; leave them out: "
                "task.held_out takes dev and test from the inputs"
            )
        sizes = max(1, min(200, inputs // 10)), max(1, min(400, inputs // 5))
        typer.echo(f"task.held_out proposes {sizes[0]} inputs as dev and {sizes[1]} as test: set the sizes you want")
        values = replace(values, held_out=sizes)
        return values if unlabeled is None else written(values, described, folder, {}, unlabeled)
    if dev or test:
        return written(values, described, folder, {"dev": dev, "test": test}, unlabeled or [])
    files = {split: f"{DATA_FOLDER}/{split}.jsonl" for split in ("dev", "test")}
    typer.echo(
        f"the file has no dev and test: write {folder / files['dev']} and {folder / files['test']}, or repeat the "
        f"command with --dev {max(1, min(200, inputs // 10))} --test {max(1, min(400, inputs // 5))}, which draws "
        "them from the file"
    )
    if unlabeled is not None:
        values = written(values, described, folder, {}, unlabeled)
    return replace(values, files={**values.files, **files})


def written(
    values: RecipeValues,
    described: "FileDescription",
    folder: Path,
    sizes: dict[str, int],
    unlabeled: "list[Example]",
) -> RecipeValues:
    """Writes the inputs as files that the values name, with dev and test of these sizes drawn from the labeled ones."""
    from understudy.tasks.in_memory import save_examples

    data = folder / DATA_FOLDER
    splits = drawn(described, sizes) if described.labeled else {}
    splits["unlabeled"] = unlabeled
    if present := [str(path) for split in splits if (path := data / f"{split}.jsonl").exists()]:
        raise ConfigError(f"{', '.join(present)} exists already and is kept; name another folder")
    save_examples(data, **splits)
    counts = ", ".join(f"{len(examples)} {split}" for split, examples in splits.items() if examples)
    how = f"drew dev and test from the file (seed {DRAW_SEED}) and wrote" if sizes else "wrote"
    typer.echo(f"{how} {data}: {counts}")
    files = {split: f"{DATA_FOLDER}/{split}.jsonl" for split, examples in splits.items() if examples}
    return replace(values, files=files, format={}, fields={})


def drawn(described: "FileDescription", sizes: dict[str, int]) -> "dict[str, list[Example]]":
    """The labeled inputs of a file, and splits of these sizes that are drawn from them.

    Inputs that are equal but for case and white space stay together, so that none is learned from and scored.
    """
    from understudy.records import Example
    from understudy.tasks.guards import normalized

    groups: dict[str, list[str]] = {}
    for source in described.targets:
        groups.setdefault(normalized(source), []).append(source)
    if sizes and (not all(sizes.values()) or sum(sizes.values()) >= len(groups)):
        raise ConfigError(
            f"--dev {sizes['dev']} --test {sizes['test']} must both be at least 1 and leave inputs for training; "
            f"{described.path} has {len(groups)} different ones"
        )
    forms = iter(random.Random(DRAW_SEED).sample(sorted(groups), len(groups)))
    chosen = {form: split for split, size in sizes.items() for form in islice(forms, size)}
    splits: dict[str, list[Example]] = {split: [] for split in ("labeled", *sizes)}
    for form, sources in groups.items():
        split = chosen.get(form, "labeled")
        for source in sources:
            generated = f"{split}-{len(splits[split])}"
            splits[split].append(Example(described.ids.get(source, generated), source, described.targets[source]))
    return splits


def summary(described: "FileDescription") -> str:
    """What was recognised in a file, in one line."""
    fields = described.fields
    columns = f" (source {fields.source!r}" + (f", target {fields.target!r})" if described.labeled else ", no target)")
    targets = sum(map(len, described.targets.values()))
    return (
        f"{described.path.name}: {described.format}{columns if described.format == 'columns' else ''}, "
        f"{described.records} records with {len(described.targets)} different inputs and {targets} targets"
    )


def metrics_note(described: "FileDescription") -> str:
    """Why the proposed metrics are not the usual ones."""
    if described.script == "spaceless":
        return "the language does not separate words by spaces, so characters are compared"
    if described.metrics == ("chrf",):
        return "most targets have fewer than four words, and BLEU counts sequences of four"
    return ""


def token_limit(texts: list[str], script: str) -> int:
    """A limit of tokens that the longest text does not reach: a power of two."""
    longest = max(
        len(text) if script == "spaceless" else max(len(text.split()) * TOKENS_PER_WORD, len(text) // 2)
        for text in texts
    )
    return max(32, 1 << longest.bit_length())


def recipe_name(folder: Path) -> str:
    """The folder's name as the name of a run."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("._-")
    return name if name and name.casefold() != "store" else "my-task"
