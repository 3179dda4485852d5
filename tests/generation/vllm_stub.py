"""A stand-in for the package `vllm`, which accepts exactly the arguments that its sources declare.

The signatures are those of `vllm_signatures.json`, read from vLLM's source tree by `scripts/vllm_signatures.py`. Texts
come from a naive loop over a torch model: one token at a time, without cache or batch.
"""

import ast
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "vllm_signatures.json").read_text(encoding="utf-8"))
DEFAULTS = {
    name: ast.literal_eval(value)
    for name in (
        "n",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "max_tokens",
        "stop_token_ids",
        "logit_bias",
        "logprobs",
        "prompt_logprobs",
    )
    for value in [next(row["default"] for row in FACTS["callables"]["SamplingParams"] if row["name"] == name)]
}
"""What vLLM assumes where the engine gives nothing."""


def signature(*names: str) -> inspect.Signature:
    """The signature of a function or record; of several, the later ones replace the `**kwargs` of those before."""
    rows: dict[str, Mapping[str, str | None]] = {}
    for name in names:
        rows |= {str(row["name"]): row for row in FACTS["callables"][name] if row["name"] not in rows}
    if len(names) > 1:
        rows = {name: row for name, row in rows.items() if row["kind"] != "VAR_KEYWORD"}
    kinds = [(row, inspect._ParameterKind[str(row["kind"])]) for row in rows.values()]
    if len(names) > 1:  # `LLM(model, *, ...)`: all but the first are given by name
        kinds = [kinds[0], *((row, inspect.Parameter.KEYWORD_ONLY) for row, _ in kinds[1:])]
    return inspect.Signature(
        [
            inspect.Parameter(
                str(row["name"]), kind, default=inspect.Parameter.empty if row["default"] is None else row["default"]
            )
            for row, kind in sorted(kinds, key=lambda pair: (pair[1], pair[0]["default"] is not None))
        ]
    )


def record(name: str, **fields: object) -> SimpleNamespace:
    """An instance of a record with these fields and no others, which must be its own."""
    signature(name).bind_partial(**fields)
    return SimpleNamespace(**fields)


class SamplingParams:
    """The settings of a request, with vLLM's own checks of those that the engine uses."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        given = signature("SamplingParams").bind(*args, **kwargs).arguments
        own = SimpleNamespace(**{**DEFAULTS, **given})
        assert 0 <= own.temperature <= 2
        assert own.n == 1 or own.temperature > 0
        assert own.max_tokens >= 1
        self.own = own


class LLM:
    """A model opened by vLLM."""

    opened: ClassVar[list["LLM"]] = []
    """Every model of a test, oldest first."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.arguments = signature("LLM.__init__", "EngineArgs").bind(*args, **kwargs).arguments
        self.environment = {name: os.environ.get(name) for name in FACTS["variables"]}
        dtype = getattr(torch, self.arguments["dtype"])
        self.model = AutoModelForCausalLM.from_pretrained(self.arguments["model"], dtype=dtype).eval()
        self.model_config = SimpleNamespace(max_model_len=self.model.config.max_position_embeddings)
        self.requests: list[tuple[list[int], SimpleNamespace]] = []
        self.resets = 0
        self.closed = False
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._shut_down))
        torch.manual_seed(0)  # as vLLM's worker does
        LLM.opened.append(self)

    def _shut_down(self, *args: object, **kwargs: object) -> None:
        signature("InprocClient.shutdown").bind(*args, **kwargs)
        self.closed = True

    def reset_prefix_cache(self, *args: object, **kwargs: object) -> bool:
        """Counts the calls."""
        signature("LLM.reset_prefix_cache").bind(*args, **kwargs)
        self.resets += 1
        return True

    def generate(self, *args: object, **kwargs: object) -> list[SimpleNamespace]:
        """A result for each prompt, in order; the samples of each in reversed order, which they may have."""
        bound = signature("LLM.generate").bind(*args, **kwargs).arguments
        results = []
        for prompt, params in zip(bound["prompts"], bound["sampling_params"], strict=True):
            ids, own = prompt["prompt_token_ids"], params.own
            self.requests.append((ids, own))
            # vLLM gives sample i the seed of the request plus i.
            seeds = [None if own.seed is None else own.seed + number for number in range(own.n)]
            outputs = [self._completion(ids, own, index, seed) for index, seed in enumerate(seeds)]
            scored = self._prompt_logprobs(ids) if own.prompt_logprobs is not None else None
            results.append(record("RequestOutput.__init__", outputs=outputs[::-1], prompt_logprobs=scored))
        return results

    def _logprobs(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.model(input_ids=torch.tensor([list(ids)])).logits[0]
        return logits.float().log_softmax(-1)

    def _completion(self, prompt: Sequence[int], own: SimpleNamespace, index: int, seed: int | None) -> SimpleNamespace:
        generator = torch.Generator().manual_seed(torch.seed() if seed is None else seed)
        ids: list[int] = []
        total = 0.0
        while len(ids) < own.max_tokens and not (ids and ids[-1] in (own.stop_token_ids or ())):
            logprobs = self._logprobs([*prompt, *ids])[-1]
            scores = logprobs.clone()
            for token, bias in (own.logit_bias or {}).items():
                scores[token] += bias
            token = int(scores.argmax()) if own.temperature == 0 else _drawn(scores, own, generator)
            total += float(logprobs[token])
            ids.append(token)
        assert own.logprobs is not None or own.prompt_logprobs is not None
        return record("CompletionOutput", index=index, token_ids=ids, cumulative_logprob=total)

    def _prompt_logprobs(self, ids: Sequence[int]) -> list[dict[int, SimpleNamespace] | None]:
        logprobs = self._logprobs(ids)
        return [
            None,
            *(
                {token: record("Logprob", logprob=float(logprobs[position, token]))}
                for position, token in enumerate(ids[1:])
            ),
        ]


def _drawn(scores: torch.Tensor, own: SimpleNamespace, generator: torch.Generator) -> int:
    p, order = (scores / own.temperature).softmax(-1).sort(descending=True)
    p[own.top_k or len(p) :] = 0
    p /= p.sum()
    p[1:][p.cumsum(0)[:-1] >= own.top_p] = 0
    return int(order[torch.multinomial(p, 1, generator=generator)])


def tokens_prompt(*args: object, **kwargs: object) -> dict[str, object]:
    """A TypedDict, which is a dictionary."""
    return dict(signature("TokensPrompt").bind(*args, **kwargs).arguments)


def modules(cleanups: list[str]) -> Iterator[tuple[str, ModuleType]]:
    """The modules that `import` finds under their names; a cleanup of the process group is noted in the list."""
    package, distributed = ModuleType("vllm"), ModuleType("vllm.distributed")
    for module in (package, distributed):
        module.__spec__ = ModuleSpec(module.__name__, None)

    def cleanup(*args: object, **kwargs: object) -> None:
        signature("cleanup_dist_env_and_memory").bind(*args, **kwargs)
        cleanups.append("process group")

    vars(package).update(LLM=LLM, SamplingParams=SamplingParams, TokensPrompt=tokens_prompt, distributed=distributed)
    vars(distributed).update(cleanup_dist_env_and_memory=cleanup)
    yield from ((module.__name__, module) for module in (package, distributed))
