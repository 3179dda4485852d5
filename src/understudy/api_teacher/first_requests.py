"""The first requests: a probe that finds out what the server takes and gives, and a smoke round that judges the prompt.

Both are requests of the first inputs, journalled like any other, so they cost nothing in addition.
"""

from collections import Counter
from collections.abc import Sequence

from understudy.api_teacher.client import ApiClient
from understudy.api_teacher.costs import response_cost, shown_amount
from understudy.api_teacher.journal import Journal
from understudy.api_teacher.request_body import Dialect
from understudy.api_teacher.request_types import RequestFailed, Response, most_common
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.records import Example

SHOWN_TEXTS, LONGEST_SHOWN = 3, 100
"""Texts of the smoke round that are shown, and their length in characters."""


class Probe:
    """Sends requests in an adaptable dialect until one is answered, and keeps what the first answer brought."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self.findings = ""
        """One line on what the server takes and gives; empty before the first answer."""
        self.answers = self.answers_with_logprobs = 0
        self.refusal = ""
        """Why the server refuses the last request, in its words, unless it refuses this input alone."""

    async def send(self, source: str, texts: int) -> Response:
        """Sends one request; the arguments, result and errors are those of `ApiClient.send`."""
        try:
            response = await (self.client.send if self.findings else self.client.send_first)(source, texts)
        except RequestFailed as failure:
            self.refusal = "" if failure.retryable or failure.of_input else failure.reason
            raise
        self.findings = self.findings or describe_answer(
            response, self.client.endpoint, self.client.dialect, source, texts
        )
        self.answers += 1
        self.answers_with_logprobs += has_logprobs(response)
        return response


def describe_answer(response: Response, endpoint: Endpoint, dialect: Dialect, source: str, texts: int) -> str:
    """One line on what a server took and gave, and what it ignored."""
    parts = [f"{dialect.length_parameter} accepted"]
    parts += [f"{name} refused, its value is the default" for name in sorted(dialect.dropped)]
    if texts > 1:
        parts.append(f"{len(response.choices)} of {texts} texts per request")
    if endpoint.top_logprobs:
        parts.append("log-probabilities" if has_logprobs(response) else "no usable log-probabilities, though requested")
    if any(stop in choice.text for stop in endpoint.stop for choice in response.choices):
        parts.append("stop ignored")
    if response.output_tokens is not None and response.output_tokens > texts * endpoint.max_tokens:
        parts.append("max_tokens exceeded")
    if response.reasoning_tokens:
        parts.append(f"{response.reasoning_tokens} of {response.output_tokens} output tokens are hidden reasoning")
    if endpoint.price and response_cost(response, endpoint, source, texts) is None:
        parts.append("no usable token counts, so requests count at their maximum cost")
    return f"probe of {endpoint.model}: {'; '.join(parts)}"


def has_logprobs(response: Response) -> bool:
    """Whether each text that is not empty has log-probabilities."""
    texts = [choice for choice in response.choices if choice.text]
    return bool(texts) and all(choice.logprobs for choice in texts)


def refuse_refused(probe: Probe, journal: Journal) -> None:
    """Raises if the server refuses the probe, and has answered no request of these settings before.

    Raises:
        GenerationError: with the server's words and the settings to check.
    """
    if probe.refusal and not journal.choices:
        endpoint = probe.client.endpoint
        raise GenerationError(
            f"{probe.client.url} refuses the first request for model {endpoint.model!r} with {probe.refusal}. The "
            "other inputs were not requested. Check model, base_url, system, prompt and extra_body, or remove the "
            "first input if the refusal concerns it alone"
        )


def smoke_report(examples: Sequence[Example], journal: Journal, endpoint: Endpoint) -> str:
    """What became of the inputs of the smoke round: some texts, rejections by reason, cost per usable text.

    Raises:
        GenerationError: with the same, if more than half of the inputs have no usable text.
    """
    texts: list[str] = []
    reasons: Counter[str] = Counter()
    unusable = 0
    for example in examples:
        parsed = [
            parse_response(choice, endpoint) for choice in journal.responses(example.source)[: endpoint.per_input]
        ]
        usable = [response.text for response in parsed if not response.rejected]
        texts += usable
        unusable += not usable
        reasons.update(response.rejected for response in parsed if response.rejected)
        if not parsed and (failure := journal.failure(example.source)):
            reasons[failure] += 1
    listed = ", ".join(f"{reason}: {count}" for reason, count in most_common(reasons).items()) or "none rejected"
    shown = "; ".join(repr(text[:LONGEST_SHOWN]) for text in texts[:SHOWN_TEXTS])
    cost = f", {shown_amount(journal.spent / len(texts))} per usable text" if endpoint.price and texts else ""
    line = f"first {len(examples)} inputs: {len(texts)} usable texts ({listed}){cost}"
    if 2 * unusable > len(examples):
        raise GenerationError(
            f"{line}. {unusable} of {len(examples)} inputs have no usable text, so the others were not requested; "
            f"{shown_amount(journal.spent)} is spent. {_what_to_change(examples, journal)}; "
            "smoke_inputs: 0 requests all the same"
        )
    return f"{line}: {shown}"


def refuse_without_logprobs(endpoint: Endpoint, probe: Probe) -> None:
    """Raises if log-probabilities are required and none of the responses so far has usable ones.

    Raises:
        GenerationError: with the settings that need or bring them.
    """
    if endpoint.require_logprobs and probe.answers and not probe.answers_with_logprobs:
        raise GenerationError(
            f"distil.objective compares distributions, but 0 of {probe.answers} texts have log-probabilities, though "
            "they were requested (top_logprobs), and the other inputs were not requested; use method "
            "extreme_fine_tune: the texts are kept (or another server, or reasoning_effort: none)"
        )


def _what_to_change(examples: Sequence[Example], journal: Journal) -> str:
    found = next((choice for example in examples for choice in journal.responses(example.source)), None)
    if found is None:
        return "No request brought a response: check base_url, model and extra_body"
    return (
        f"The first response is {found.text[:LONGEST_SHOWN]!r}. Change prompt, stop or max_tokens, or the filters "
        "`answer` and `refusals`, which apply to the stored responses without new requests"
    )
