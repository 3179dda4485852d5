"""The answers of a server as records: a record for each source of a request."""

from understudy.serving.records import RecordedText, TextRecord
from understudy.serving.responses import AnsweredRequest
from understudy.tasks.chat_turns import Turn


def answer_records(answered: AnsweredRequest) -> list[TextRecord]:
    """The records of a request, each with who answered it. A source is without the prompt, as in the task's files."""
    wanted, settings = answered.request, answered.request.settings
    parameters: dict[str, object] = {
        "model": wanted.model,
        "n": settings.per_source,
        "max_tokens": settings.max_tokens,
        "decoding": settings.decoding.model_dump(),
        **({"seed": settings.seed} if wanted.seeded else {}),
        **({"stop": list(wanted.stop)} if wanted.stop else {}),
    }
    return [
        TextRecord(
            answered.id,
            [Turn("user", source)],
            [RecordedText(answer.text, "stop" if answer.finished else "length") for answer in own.answers],
            own.answered_by,
            wanted.model,
            parameters,
            {"completion_tokens": own.text_tokens, "prompt_tokens": own.source_tokens},
            None if own.answered_by == "teacher" else [round(answer.confidence, 4) for answer in own.answers],
        )
        for source, own in zip(wanted.sources, answered.sources, strict=True)
    ]
