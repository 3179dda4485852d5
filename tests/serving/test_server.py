"""The server with the official client: an application replaces `base_url` and nothing else."""

import json
from typing import Any

import openai
import pytest
from tests.running_server import Served

from understudy.records import Prediction


def user(text: str) -> list[Any]:
    """The messages of a request."""
    return [{"role": "user", "content": text}]


def test_chat_answers_are_the_evaluated_predictions(served: Served, predictions: list[Prediction]) -> None:
    """Under the model's own name and an alias, with the parameters of an application that wants no sampling."""
    create: Any = served.client.chat.completions.create
    for index, one in enumerate(predictions):
        model, rest = ("tiny", {}) if index % 2 else ("gpt-4o", {"temperature": 0.0, "max_tokens": 1000})
        response = create(model=model, messages=user(one.source), **rest)
        assert response.choices[0].message.content == one.text
        assert response.model == model
        assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens


def test_completions_answer_several_prompts(served: Served, predictions: list[Prediction]) -> None:
    """A choice for each prompt, in their order."""
    response = served.client.completions.create(model="tiny", prompt=[one.source for one in predictions])

    assert [choice.text for choice in response.choices] == [one.text for one in predictions]
    assert [choice.index for choice in response.choices] == list(range(len(predictions)))


def test_a_stream_has_the_same_text(served: Served, predictions: list[Prediction]) -> None:
    """The pieces together are the text; the last ones hold the reason for the end and the usage."""
    source, text = predictions[0].source, predictions[0].text
    options: Any = {"include_usage": True}
    chunks = list(
        served.client.chat.completions.create(model="tiny", messages=user(source), stream=True, stream_options=options)
    )
    pieces = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(piece.delta.content or "" for piece in pieces) == text
    assert [piece.finish_reason for piece in pieces] in ([None, "stop"], [None, "length"])
    assert chunks[-1].usage is not None
    plain = served.client.completions.create(model="tiny", prompt=source, stream=True)
    assert "".join(chunk.choices[0].text for chunk in plain) == text


def test_the_text_ends_at_the_limit_and_before_a_stop(served: Served, predictions: list[Prediction]) -> None:
    """Both names of the limit hold; a stop text is not part of the answer, and neither are its log-probabilities."""
    source, text = max(((one.source, one.text) for one in predictions), key=lambda pair: len(pair[1]))
    create: Any = served.client.chat.completions.create
    short = [
        create(model="tiny", messages=user(source), **{name: 3}) for name in ("max_tokens", "max_completion_tokens")
    ]
    for response in short:
        assert response.choices[0].finish_reason == "length"
        assert response.usage.completion_tokens == 3
        assert text.startswith(response.choices[0].message.content)

    stop = text[len(text) // 2 : len(text) // 2 + 3]
    cut = create(model="tiny", messages=user(source), stop=[stop, "never there"], logprobs=True).choices[0]
    assert cut.message.content == text[: text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.logprobs is not None
    raw = b"".join(bytes(token.bytes or []) for token in cut.logprobs.content or ()).lstrip()
    assert raw.startswith((cut.message.content or "").encode())
    assert len(raw) < len(text.encode())


def test_logprobs_are_those_of_the_network(served: Served, predictions: list[Prediction]) -> None:
    """Each token's is the engine's score of it; the tokens together are the text."""
    one = predictions[0]
    own = served.client.chat.completions.create(model="tiny", messages=user(one.source), logprobs=True).choices[0]
    assert own.logprobs is not None
    tokens = own.logprobs.content or []
    assert b"".join(bytes(token.bytes or []) for token in tokens).decode().strip() == one.text
    legacy = served.client.completions.create(model="tiny", prompt=one.source, logprobs=0).choices[0].logprobs
    assert legacy is not None
    assert legacy.token_logprobs == [token.logprob for token in tokens]

    tokenizer = served.engine._tokenizer.tokenizer
    by_bytes = {served.engine._token_bytes.of(token): token for token in range(len(tokenizer))}
    ids = [by_bytes[bytes(token.bytes or [])] for token in tokens]
    (scores,) = served.engine._engine.score(served.engine.encode([one.source]), [ids])
    assert [token.logprob for token in tokens] == pytest.approx(scores, abs=1e-4)


def test_sampling_gives_several_texts_and_repeats_with_a_seed(served: Served, predictions: list[Prediction]) -> None:
    """As many texts as n, which differ; equal seeds give equal texts."""
    source = predictions[0].source

    def texts(**parameters: Any) -> list[str | None]:  # noqa: ANN401 - what requests may hold
        response = served.client.chat.completions.create(model="tiny", messages=user(source), **parameters)
        assert [choice.index for choice in response.choices] == list(range(len(response.choices)))
        return [choice.message.content for choice in response.choices]

    first = texts(n=4, temperature=1.3, seed=5)
    assert len(first) == 4
    assert len(set(first)) > 1
    assert texts(n=4, temperature=1.3, seed=5) == first
    assert texts(n=4, temperature=1.3, seed=6) != first
    assert texts(n=4, temperature=1.3) != texts(n=4, temperature=1.3)
    assert len(texts(n=3)) == 3
    assert texts(temperature=0.002, top_p=0.01) == [predictions[0].text]


def test_models_health_and_metrics(served: Served, predictions: list[Prediction]) -> None:
    """All names are listed; the process answers; requests, batches and tokens are counted."""
    assert [model.id for model in served.client.models.list()] == ["tiny", "gpt-4o"]
    root = served.url.removesuffix("/v1")
    assert served.http.get(f"{root}/health").json() == {"status": "ok"}
    ready = served.http.get(f"{root}/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})

    line = 'understudy_requests_total{path="/v1/chat/completions",status="200"}'
    counted = ("understudy_batch_sources_sum", "understudy_text_tokens_total", line)
    before = [served.metric(name) for name in counted]
    usage = served.chat(predictions[0].source).json()["usage"]
    after = [served.metric(name) for name in counted]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, usage["completion_tokens"], 1]
    assert served.metric("understudy_requests_in_progress") == 0


def test_an_unknown_model_and_an_unknown_path_are_404(served: Served) -> None:
    """The client raises its own errors, with our sentence."""
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-5', only tiny, gpt-4o") as missing:
        served.client.chat.completions.create(model="gpt-5", messages=user("a"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="Not Found"):
        served.client.embeddings.create(model="tiny", input="a")
    wrong = served.http.get(f"{served.url}/chat/completions")
    assert wrong.status_code == 405
    assert json.loads(wrong.content)["error"]["type"] == "invalid_request_error"
