"""Reasoning that a model writes before its answer, and the answer without it.

Chat templates of reasoning models (Qwen 3, DeepSeek-R1, SmolLM3, Magistral) wrap it in a pair of markers. A template
may write the first one itself, so that a generated text holds the second one alone.
"""

MARKERS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)
"""Before and after reasoning."""


def answer_start(text: str) -> int | None:
    """Where the answer begins in a text that may begin with reasoning, in characters.

    Returns:
        0 for a text without reasoning; None if the text is only reasoning, which may not have ended.
    """
    for before, after in MARKERS:
        _, closed, answer = text.rpartition(after)
        if closed:
            start = len(text) - len(answer.lstrip())
            return start if start < len(text) else None
        if text.lstrip().startswith(before):
            return None
    return 0


def has_reasoning(text: str) -> bool:
    """Whether a text holds a marker of reasoning."""
    return any(marker in text for pair in MARKERS for marker in pair)
