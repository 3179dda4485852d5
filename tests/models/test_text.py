import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from understudy.errors import ModelError
from understudy.models.text import decode, encode_sources, encode_targets
from understudy.models.tokenizers import train_tokenizer


def like(family: str, **special: str) -> PreTrainedTokenizerBase:
    """A tokenizer that adds special tokens as the family's own does."""
    own = train_tokenizer(["a b"], vocab_size=110)
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single=family, pair=None, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=own.backend_tokenizer, unk_token="<unk>", **special)  # noqa: S106


FAMILIES = {
    # family: (its template, its special tokens, source, target) where x is the text
    "bart": ("<s> $A </s>", {"bos_token": "<s>", "eos_token": "</s>"}, "<s> x </s>", "<s> x </s>"),
    "t5": ("$A </s>", {"eos_token": "</s>"}, "x </s>", "x </s>"),
    "gpt2": ("$A", {"bos_token": "</s>", "eos_token": "</s>"}, "x </s>", "x </s>"),
    "llama": ("<s> $A", {"bos_token": "<s>", "eos_token": "</s>"}, "<s> x <s>", "x </s>"),
    "opt": ("</s> $A", {"bos_token": "</s>", "eos_token": "</s>"}, "</s> x </s>", "x </s>"),
    "separated": ("$A", {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "<sep>"}, "x <sep>", "x </s>"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_are_those_of_the_family(family: str) -> None:
    """Sources and targets have the special tokens of the family; a decoder-only source ends with a separator."""
    template, special, source, target = FAMILIES[family]
    tokenizer = like(template, **special)
    seq2seq = family in ("bart", "t5")
    (source_ids,) = encode_sources(tokenizer, ["x"], is_encoder_decoder=seq2seq)
    (target_ids,) = encode_targets(tokenizer, ["x"], is_encoder_decoder=seq2seq)

    def shown(ids: list[int]) -> str:
        return " ".join(tokenizer.convert_ids_to_tokens(ids)).replace("▁ x", "x")

    assert shown(source_ids) == source
    assert shown(target_ids) == target


def test_our_own_tokenizer_ends_sources_and_targets_with_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    """Without a start token, for an encoder-decoder."""
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("The Mill"))
    for encode in (encode_sources, encode_targets):
        assert encode(tokenizer, ["The Mill"], is_encoder_decoder=True) == [[*ids, 2]]


def test_our_own_tokenizer_works_for_decoder_only_models(tokenizer: PreTrainedTokenizerBase) -> None:
    """A source ends with the separator, not with the end-of-sequence token."""
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("The Mill"))

    assert encode_sources(tokenizer, ["The Mill"], is_encoder_decoder=False) == [[*ids, 1]]
    assert encode_targets(tokenizer, ["The Mill"], is_encoder_decoder=False) == [[*ids, 2]]


def test_targets_are_decoded_to_their_text(tokenizer: PreTrainedTokenizerBase) -> None:
    """Decoding removes the special tokens that encoding added."""
    texts = ["The Eagle costs £25.", "café"]
    rows = encode_targets(tokenizer, texts, is_encoder_decoder=True)

    assert [decode(tokenizer, row) for row in rows] == texts


def test_no_texts_no_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    """An empty split is no error."""
    assert encode_sources(tokenizer, [], is_encoder_decoder=True) == []


def test_a_tokenizer_without_a_separator_is_refused() -> None:
    """A decoder-only model needs a token that marks the start of the target."""
    with pytest.raises(ModelError, match=r"no sep, bos or eos token; set tokenizer\.sep_token"):
        encode_sources(like("$A"), ["x"], is_encoder_decoder=False)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    """Without an end-of-sequence token no text would end."""
    with pytest.raises(ModelError, match=r"has none; set tokenizer\.eos_token"):
        encode_targets(like("$A"), ["x"], is_encoder_decoder=True)
