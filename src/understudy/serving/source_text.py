"""The source in the text of a request: without the prompt around it. What a prompt is in a body is in `requests`."""

from collections.abc import Sequence

from understudy.errors import shortened

LIKE_A_PROMPT = 20
"""Characters at the beginning of a text that it shares with a prompt and hardly with a source by chance."""


def without_prompt(text: str, prompts: Sequence[str]) -> str:
    """The source in a text: without the longest prompt that is around it.

    White space at the ends of a prompt does not count: a file ends with a line break, a recipe's text may not.

    Args:
        text: a source, with or without a prompt.
        prompts: `{source}` stands for the source.

    Raises:
        ValueError: if the text begins like a prompt and goes on otherwise; as a source it would get a poor answer.
    """
    for prompt in sorted(prompts, key=len, reverse=True):
        before, _, after = prompt.partition("{source}")
        whole = text
        if before.strip():
            before, whole = before.lstrip(), whole.lstrip()
        if after.strip():
            after, whole = after.rstrip(), whole.rstrip()
        elif not whole.endswith(after):
            after = ""
        if len(whole) >= len(before) + len(after) and whole.startswith(before) and whole.endswith(after):
            return whole[len(before) : len(whole) - len(after)]
        refuse_other_prompt(whole, before)
    return text


def refuse_other_prompt(text: str, before: str) -> None:
    """Refuses a text that begins like a prompt, which a text around a source does not have.

    Raises:
        ValueError: with what the text has instead.
    """
    pairs = enumerate(zip(text, before, strict=False))
    shared = next((at for at, (own, recorded) in pairs if own != recorded), min(len(text), len(before)))
    if shared >= LIKE_A_PROMPT:
        ends = shared == len(before)
        found = "ends otherwise" if ends else f"has {shortened(text[shared:])} after {shared} characters"
        raise ValueError(
            f"the text begins like the recorded prompt, but {found}; send that prompt around the source, or the source "
            "alone"
        )
