"""How a model reads a task: prompt, limits, positions."""

from pathlib import Path

import pytest
from tests.sizes import small
from transformers import PreTrainedTokenizerBase

from understudy.config.model_sections import Architecture
from understudy.errors import DataError
from understudy.models.checkpoint import save_network
from understudy.models.length_limits import filter_by_length
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import (
    TaskTokenizer,
    TextLimits,
    checkpoint_task_tokenizer,
    scratch_task_tokenizer,
)
from understudy.records import Example, TaskData

SHORT, LONG = "The Mill", "The Mill is near the Eagle"
EXAMPLE = Example("a", SHORT, (SHORT,))


def task_tokenizer(tokenizer: PreTrainedTokenizerBase, **settings: object) -> TaskTokenizer:
    """Of an encoder-decoder with wide limits, unless `settings` say otherwise."""
    fields = {"is_encoder_decoder": True, "prompt": "{source}", "max_source_tokens": 99, "max_target_tokens": 99}
    return TaskTokenizer(tokenizer, **(fields | settings))  # type: ignore[arg-type]


def data(**splits: tuple[Example, ...]) -> TaskData:
    """One short example in each split that `splits` does not give."""
    return TaskData(**(dict.fromkeys(("labeled", "unlabeled", "dev", "test"), (EXAMPLE,)) | splits))


def filtered(
    given: TaskData, *tokenizers: TaskTokenizer, policy: str = "refuse", with_likelihood: bool = False
) -> tuple[TaskData, dict[str, int]]:
    """`filter_by_length` with the strict policy as its default."""
    return filter_by_length(given, tokenizers, policy=policy, with_likelihood=with_likelihood)


def test_sources_carry_the_prompt_and_targets_do_not(tokenizer: PreTrainedTokenizerBase) -> None:
    """Decoding the ids of a source gives prompt and source; decoding those of a target gives the target."""
    own = task_tokenizer(tokenizer, prompt="near {source} is")
    (source,), (target,) = own.encode_sources([EXAMPLE]), own.encode_targets([SHORT])

    assert own.decode(source) == f"near {SHORT} is"
    assert own.decode(target) == SHORT
    assert target[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
def test_a_checkpoint_is_read_as_the_same_model_from_scratch(
    tmp_path: Path, architecture: Architecture, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Its kind and its positions come from its config; no weights are needed."""
    task = TextLimits("{source}", 9, 5)
    planned = scratch_task_tokenizer(task, small(architecture), tokenizer)
    network = build_network(small(architecture), tokenizer, max_positions=planned.longest, seed=0)
    save_network(network, tokenizer, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    read = checkpoint_task_tokenizer(task, str(tmp_path))

    assert read.max_positions == planned.max_positions == 14
    assert read.is_encoder_decoder == planned.is_encoder_decoder == (architecture == "bart")
    assert read.encode_sources([EXAMPLE]) == planned.encode_sources([EXAMPLE])


def test_training_examples_over_a_limit_are_dropped_for_either_model(tokenizer: PreTrainedTokenizerBase) -> None:
    """Sources by the limit of one model, targets by that of the other; each is counted."""
    labeled = (EXAMPLE, Example("source", LONG, (SHORT,)), Example("target", SHORT, (SHORT, LONG)))
    narrow_source = task_tokenizer(tokenizer, max_source_tokens=4)
    narrow_target = task_tokenizer(tokenizer, max_target_tokens=4)
    left, dropped = filtered(data(labeled=labeled), narrow_source, narrow_target, policy="drop")

    assert [example.id for example in left.labeled] == ["a"]
    assert dropped == {"labeled": 2, "unlabeled": 0, "withheld": 0}


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("policy", ["refuse", "drop"])
def test_held_out_sources_over_the_limit_are_always_refused(
    split: str, policy: str, *, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The message names the example, its length and the limit, and does not offer to drop it."""
    given = data(**{split: (Example("long", LONG, (SHORT,)),)})
    length = len(tokenizer(LONG)["input_ids"])
    with pytest.raises(
        DataError, match=rf"{split} example 'long' has {length} tokens.*max_source_tokens is 4"
    ) as error:
        filtered(given, task_tokenizer(tokenizer, max_source_tokens=4), policy=policy)

    assert "drop" not in str(error.value)


def test_a_training_example_over_the_limit_is_refused_with_both_remedies(tokenizer: PreTrainedTokenizerBase) -> None:
    """A larger limit, or dropping such examples."""
    given = data(labeled=(Example("long", SHORT, (LONG,)),))
    with pytest.raises(DataError, match=r"target of labeled.*Raise task\.max_target_tokens.*task\.long_sources=drop"):
        filtered(given, task_tokenizer(tokenizer, max_target_tokens=4))


@pytest.mark.parametrize(("is_encoder_decoder", "source_limit"), [(True, 12), (False, 3)])
def test_a_model_needs_positions_for_the_longest_generated_text(
    *, is_encoder_decoder: bool, source_limit: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A decoder-only model needs them for source and target together; the message gives the limit that would fit."""
    own = task_tokenizer(tokenizer, is_encoder_decoder=is_encoder_decoder, max_positions=12, max_target_tokens=10)
    extra = len(own.encode_sources([Example("one", "1")])[0]) - 1  # every digit is a token
    fits, long = (Example(name, "1" * (source_limit + more - extra)) for name, more in (("fits", 0), ("long", 1)))
    assert list(map(len, own.encode_sources([fits, long]))) == [source_limit, source_limit + 1]

    assert filtered(data(unlabeled=(fits,), dev=(), test=(), labeled=()), own)[0].unlabeled == (fits,)
    with pytest.raises(
        DataError, match=rf"'long'.*12 positions.*max_source_tokens={source_limit} and task\.long_sourc"
    ):
        filtered(data(unlabeled=(fits, long), dev=(), test=(), labeled=()), own)


def test_references_need_positions_only_for_their_likelihood(tokenizer: PreTrainedTokenizerBase) -> None:
    """A long reference is refused with nll, with its length as the remedy, and accepted without."""
    own = task_tokenizer(tokenizer, max_positions=12, max_target_tokens=10)
    given = data(test=(Example("long", SHORT, (LONG * 3,)),))
    length = len(own.encode_targets([LONG * 3])[0])

    assert filtered(given, own) == (given, {"labeled": 0, "unlabeled": 0, "withheld": 0})
    with pytest.raises(DataError, match=rf"'long'.*{length} tokens.*12 positions.*nll.*max_target_tokens to {length}"):
        filtered(given, own, with_likelihood=True)
