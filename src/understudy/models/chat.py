"""Chat templates: conversations as token ids, the token that ends an answer, and templates that always say the same.

The templates themselves are run by transformers. What is a source and what a target is in `text`.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError, first_line
from understudy.models.literal_text import encode_literally, special_strings
from understudy.models.reasoning import has_reasoning

Turns = Sequence[tuple[str, str]]
"""Turns: the role (`system`, `user`, `assistant`) and the text of each. The last is the user's."""
_BREAK = "\ufdd0"
"""Breaks the text of a special token within a turn until the template is rendered; noncharacters are in no text."""
_ANSWER = "\ufdd0answer\ufdd1"
_DATE = {"%d": "26", "%B": "July", "%b": "Jul", "%m": "07", "%Y": "2024", "%y": "24", "%A": "Friday", "%a": "Fri"}
"""The date of every prompt: the one that Llama's templates have where they cannot ask for today's."""
FIXED = {
    "strftime_now": "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{part}', '{value}')" for part, value in _DATE.items())
    + " }}{% endmacro %}",
    "enable_thinking": "{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}",
}
"""Name in a template -> what is put before it: a prompt with today's date is another one tomorrow, and a target follows
the prompt of a model that does not reason."""


def fix_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes the tokenizer's chat template a function of the turns; saving the tokenizer saves it.

    Users of the delivered student then get the same prompts from `apply_chat_template`.

    Raises:
        ModelError: if it has several templates and no default.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise ModelError(
            f"the tokenizer has several chat templates ({', '.join(tokenizer.chat_template)}) and none is its default; "
            "save the one to use as tokenizer.chat_template, or set template: none or separator for this model"
        ) from error
    for name, definition in FIXED.items():
        if name in template and definition not in template:
            template = definition + template
    tokenizer.chat_template = template


def always_reasons(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model with this chat template reasons before each answer: nothing in the template turns it off."""
    template = tokenizer.get_chat_template()
    return has_reasoning(template) and "enable_thinking" not in template


def end_of_answer(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The token with which the chat template ends an answer; None where it writes none, or can render no answer."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    try:
        rendered: str = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # noqa: BLE001 - a template is a program, which raises whatever it likes
        return None  # the template's errors are those of encoding a source
    _, found, after = rendered.rpartition(_ANSWER)
    end = special_strings(tokenizer).search(after) if found else None
    return end[0] if end else None


def chat_rows(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Turns]) -> list[list[int]]:
    """The token ids of conversations in the chat template, up to where the answer begins.

    The text of a special token within a turn is ordinary text.

    Raises:
        ModelError: if the template cannot render a conversation, or leaves out one of its turns.
    """
    strings = special_strings(tokenizer)
    rendered = [rendered_turns(tokenizer, turns) for turns in conversations]
    rows: list[list[int]] = _with_specials(tokenizer, rendered)
    for index, turns in enumerate(conversations):
        if any(strings.search(text) for _, text in turns):
            broken = [
                (role, strings.sub(lambda found: found[0][0] + _BREAK + found[0][1:], text)) for role, text in turns
            ]
            rows[index] = _literal_row(tokenizer, rendered_turns(tokenizer, broken))
    return rows


def rendered_turns(tokenizer: PreTrainedTokenizerBase, turns: Turns) -> str:
    """A conversation in the chat template, as text.

    Raises:
        ModelError: as `chat_rows`.
    """
    system = next((text for role, text in turns if role == "system"), None)
    what = "one message of the user" if system is None else "a system turn and a message of the user"
    remedy = "set template: none or separator for this model"
    if system is not None:
        remedy = "put the text of task.system or teacher.system into task.prompt or teacher.prompt"
    try:
        rendered: str = tokenizer.apply_chat_template(
            [{"role": role, "content": text} for role, text in turns], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template is a program
        raise ModelError(f"the model's chat template cannot render {what}: {first_line(error)}; {remedy}") from error
    for role, text in turns:
        # Templates remove the reasoning of earlier answers.
        if text.strip() not in rendered and not (role == "assistant" and has_reasoning(text)):
            raise ModelError(f"the model's chat template leaves out the {role} turn {text!r}; {remedy}")
    return rendered


def _literal_row(tokenizer: PreTrainedTokenizerBase, rendered: str) -> list[int]:
    """The token ids of a rendered conversation whose own special tokens are unbroken; broken ones are text."""
    strings, row, start = special_strings(tokenizer), list[int](), 0
    for found in [*strings.finditer(rendered), None]:
        end = found.start() if found else len(rendered)
        if end > start:
            text = rendered[start:end].replace(_BREAK, "")
            row += encode_literally(tokenizer, [text], special=False)[0]
        if found:
            row += _with_specials(tokenizer, [found[0]])[0]
            start = found.end()
    return row


def _with_specials(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts in which special tokens are written as text."""
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=False, return_attention_mask=False, verbose=False
    )["input_ids"]
    return rows
