"""The answers of a server as records: a record for each source of a request."""

from understudy.serving.records import AnsweredBy, RecordedText, TextRecord
from understudy.serving.responses import AnsweredRequest
from understudy.tasks.chat_turns import Turn


def answer_records(answered: AnsweredRequest, answered_by: AnsweredBy = "student") -> list[TextRecord]:
    """The records of a request. A source is without the prompt, as in the task's files.

    Args:
        answered: the request with its texts.
        answered_by: who generated them: those of a teacher can be learned from.
    """
    wanted, settings = answered.request, answered.request.settings
    parameters: dict[str, object] = {
        "model": wanted.model,
        "n": settings.per_source,
        "max_tokens": settings.max_tokens,
        "decoding": settings.decoding.model_dump(),
        **({"seed": settings.seed} if wanted.seeded else {}),
        **({"stop": list(wanted.stop)} if wanted.stop else {}),
    }
    texts = settings.per_source
    records = []
    for index, source in enumerate(wanted.sources):
        answers = answered.answers[index * texts : (index + 1) * texts]
        usage = {"completion_tokens": sum(answer.tokens for answer in answers)}
        if len(wanted.sources) == 1:
            usage["prompt_tokens"] = answered.source_tokens
        records.append(
            TextRecord(
                answered.id,
                [Turn("user", source)],
                [RecordedText(answer.text, "stop" if answer.finished else "length") for answer in answers],
                answered_by,
                wanted.model,
                parameters,
                usage,
                [round(answer.confidence, 4) for answer in answers],
            )
        )
    return records
