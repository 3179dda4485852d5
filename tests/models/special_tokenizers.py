"""Tokenizers of the kinds that exist, whose special tokens are among their pieces."""

import json
import string
from collections.abc import Callable
from itertools import product

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from understudy.models.tokenizers import train_tokenizer

CHAT = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def unigram(*more: tuple[str, float]) -> PreTrainedTokenizerBase:
    """As T5 and Marian: Unigram with the special tokens among its scored pieces."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -1.0)]
    pieces += [(character, -3.0) for character in string.ascii_letters + string.digits + "</>.,:"] + list(more)
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")  # noqa: S106


def byte_level(eos: str = "<|end|>", *, chat: bool = False) -> PreTrainedTokenizerBase:
    """As Qwen: byte-level, with added special tokens of which `eos` ends texts."""
    return byte_level_of(["the order has a lamp and 2 chairs"] * 3, vocab_size=300, eos=eos, chat=chat)


def byte_level_of(
    texts: list[str], *, vocab_size: int, eos: str = "<|end|>", chat: bool = False
) -> PreTrainedTokenizerBase:
    """A byte-level tokenizer trained on texts; the special tokens are added to `vocab_size`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    special = ["<|text|>", "<|start|>", "<|end|>", "<|pad|>"]
    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    own = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token="<|pad|>")  # noqa: S106
    own.chat_template = CHAT if chat else None
    return own


def byte_fallback(texts: list[str], *, vocab_size: int) -> PreTrainedTokenizerBase:
    """As Gemma and Llama 2: pieces of characters with "▁" for spaces, and bytes for characters without a piece."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<unused0>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    backend.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[*special, *bytes_], show_progress=False)
    backend.train_from_iterator(texts, trainer)
    plain = json.loads(backend.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] in special]
    plain["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ],
    }
    backend = Tokenizer.from_str(json.dumps(plain))
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    roles = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def merged() -> PreTrainedTokenizerBase:
    """Our own, trained on texts from which it learns the end token as the piece of a merge."""
    words = [f"{before}</s>{after}" for before, after in product("abcdefghijk", "lmnopqrstuv")]
    return train_tokenizer(words, vocab_size=125)


KINDS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "unigram": unigram,
    "byte_level": byte_level,
    "merged": merged,
}
