"""The options of `init` that describe a teacher behind an API."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from understudy.cli.options import check_variable
from understudy.cli.recipe_text import EndpointValues
from understudy.errors import ConfigError


@dataclass(frozen=True)
class EndpointOptions:
    """The options as they were given; None: not given."""

    teacher_url: str | None = None
    teacher_model: str | None = None
    key_variable: str | None = None
    prompt: Path | None = None
    system: Path | None = None
    price: tuple[float, float] | None = None
    budget: float | None = None

    @property
    def given(self) -> list[str]:
        """The names of the options that were given."""
        return [f"--{one.name.replace('_', '-')}" for one in fields(self) if getattr(self, one.name) is not None]


def endpoint_values(options: EndpointOptions) -> EndpointValues:
    """The teacher that the options describe; the price is known only for the default model at OpenAI.

    Raises:
        ConfigError: if an option is missing or is not what it should be.
    """
    default, url, model = EndpointValues(), options.teacher_url, options.teacher_model
    if url is not None and model is None:
        raise ConfigError(f"--teacher-url is {url}, but which of its models? name it with --teacher-model")
    check_variable("--key-variable", options.key_variable, default.key)
    price = options.price or (default.price if model is None else None)
    if options.budget is not None and price is None:
        raise ConfigError(
            f"--budget is {options.budget}, but the price of {model} is not known; give --price INPUT OUTPUT, per "
            "million tokens"
        )
    return EndpointValues(
        model or default.model,
        url,
        options.key_variable or default.key,
        default.prompt if options.prompt is None else prompt_text(options.prompt),
        None if options.system is None else file_text(options.system, "--system"),
        price,
        (default.budget if options.budget is None else options.budget) if price else None,
    )


def prompt_text(path: Path) -> str:
    """The prompt in a text file.

    Raises:
        UnderstudyError: if the file cannot be read, or has no place for the input.
    """
    text = file_text(path, "--prompt")
    if "{source}" not in text:
        raise ConfigError(
            f"--prompt {path} has no {{source}}, so the teacher would never see the input; write {{source}} where the "
            "input belongs"
        )
    return text


def refuse_prompt_twice(teacher: EndpointValues | None, sources: Collection[str], path: Path) -> None:
    """Refuses a prompt that recorded inputs hold already.

    Raises:
        ConfigError: with the number of these inputs.
    """
    from understudy.serving.source_text import without_prompt

    if teacher is None or not teacher.prompt.replace("{source}", "").strip():
        return
    holding = 0
    for source in sources:
        with suppress(ValueError):  # it begins like the prompt and goes on otherwise, as an input may
            holding += without_prompt(source, [teacher.prompt]) != source
    if holding:
        raise ConfigError(
            f"{path}: {holding} of {len(sources)} inputs hold the prompt of --prompt already, so the teacher would "
            "read it twice; leave --prompt out: the inputs are sent as they are"
        )


def file_text(path: Path, option: str) -> str:
    """The text of a file, without the line breaks at its end.

    Raises:
        UnderstudyError: if the file cannot be read.
    """
    from understudy.tasks.text_lines import check_file

    check_file(path, missing=f"give {option} the path of a text file")
    try:
        return path.read_text(encoding="utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{option} {path} is not UTF-8 text (byte {error.object[error.start]:#04x} at position {error.start}); "
            "save the file as UTF-8"
        ) from None
