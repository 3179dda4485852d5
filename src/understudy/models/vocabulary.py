"""Vocabulary trimming: a tokenizer with the tokens that a task's texts use most, from one with many more.

Kept are special tokens, bytes or single characters, with which every text can be encoded, and the most frequent tokens,
each with the tokens that it is merged from. A text whose tokens are all kept has the same tokens as before; any other
text is split into more tokens and decodes to the same text. The rows of a network are in `vocabulary_rows`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError
from understudy.models.literal_text import encode_literally
from understudy.models.token_bytes import BYTE_PIECE, SPACES, byte_characters
from understudy.models.tokenizers import load_tokenizer

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
GENERIC_CLASS = "PreTrainedTokenizerFast"
"""The class of transformers that reads a tokenizer.json as it is."""
LISTS = ("extra_special_tokens", "additional_special_tokens")
"""Lists of special tokens without a role in `tokenizer_config.json`."""


def kept_tokens(
    tokenizer: PreTrainedTokenizerBase, counts: NDArray[np.int64], *, vocab_size: int, needed: Iterable[int]
) -> list[int]:
    """The ids of the tokens that a trimmed tokenizer keeps, in the order of their new ids.

    Args:
        tokenizer: the whole one.
        counts: how often the texts have each id.
        vocab_size: the most tokens that are kept. Tokens that no text has are not kept, so it may be fewer.
        needed: ids that are kept however rare they are, such as those that the network's config names.

    Raises:
        ModelError: if the tokenizer is of a kind that cannot be trimmed, or what must be kept is more than
            `vocab_size`.
    """
    plain = plain_of(tokenizer)
    ids: dict[str, int] = tokenizer.get_vocab()
    pieces = _Pieces(plain)
    every = {ids[piece] for piece in pieces.basic()}
    special = {*needed, *_special(tokenizer, plain, counts)}
    kept = every | special
    if len(kept) > vocab_size:
        raise ModelError(
            f"vocab_size is {vocab_size}, but {len(kept)} tokens must be kept so that every text can be encoded: "
            f"{len(special)} special tokens and {len(kept) - len(special)} bytes and characters; set vocab_size to "
            f"{len(kept)} or more"
        )
    added = {token["id"] for token in plain["added_tokens"]}
    names = {token_id: piece for piece, token_id in ids.items()}
    used = np.flatnonzero(counts)
    for token_id in used[np.lexsort((used, -counts[used]))].tolist():
        parts = {token_id} if token_id in added else {token_id, *(ids[part] for part in pieces.parts(names[token_id]))}
        if len(kept) + len(parts - kept) <= vocab_size:
            kept |= parts
    # The library gives added tokens that are no pieces the ids after those of all pieces.
    return sorted(kept, key=lambda token_id: (names[token_id] not in pieces, token_id))


def shared_tokens(tokenizer: PreTrainedTokenizerBase, trimmed: PreTrainedTokenizerBase) -> list[int]:
    """The ids of the tokens that another trimmed tokenizer has, in the order of their ids there.

    Raises:
        ModelError: if this tokenizer lacks one of them, or gives a special role to a token that is not among them.
    """
    ids, theirs = tokenizer.get_vocab(), trimmed.get_vocab()
    roles = [_content(value) for value in tokenizer.special_tokens_map.values() if not isinstance(value, list | tuple)]
    if missing := [*(theirs.keys() - ids.keys()), *(role for role in roles if role not in theirs)]:
        raise ModelError(
            f"the student is trimmed to the tokens of its teacher, and {missing[0]!r} is a token of only one of them; "
            "set student.vocab_size to another number than teacher.vocab_size, or to null"
        )
    return [ids[piece] for piece in sorted(theirs, key=theirs.__getitem__)]


def save_trimmed(tokenizer: PreTrainedTokenizerBase, kept: list[int], folder: Path) -> PreTrainedTokenizerBase:
    """Writes a tokenizer with these tokens of another, whose new ids are their places in the list, and loads it.

    Raises:
        ModelError: if the saved tokenizer does not have these tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    for file in tokenizer.vocab_files_names.values():
        (folder / file).unlink(missing_ok=True)
    plain = _trimmed(plain_of(tokenizer), {old: new for new, old in enumerate(kept)})
    (folder / TOKENIZER_FILE).write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    names = tokenizer.convert_ids_to_tokens(kept)
    settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    settings.pop("added_tokens_decoder", None)
    for name in LISTS:
        if isinstance(settings.get(name), list):
            settings[name] = [token for token in settings[name] if _content(token) in set(names)]
    for name in (settings["tokenizer_class"], GENERIC_CLASS):
        # Some classes build their own tokenizer: T5's adds its hundred sentinels again.
        own = json.dumps(settings | {"tokenizer_class": name}, ensure_ascii=False, indent=2)
        (folder / CONFIG_FILE).write_text(own, encoding="utf-8")
        loaded = load_tokenizer(str(folder))
        if loaded.get_vocab() == {piece: new for new, piece in enumerate(names)} and _same(loaded, plain):
            return loaded
    raise ModelError(
        f"a {type(tokenizer).__name__} with {len(kept)} of its tokens is read with {len(loaded)} tokens by "
        "transformers; leave vocab_size out"
    )


def plain_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """A tokenizer as the JSON data of its `tokenizer.json`.

    Raises:
        ModelError: if it is of a kind that cannot be trimmed.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    plain: dict[str, Any] = json.loads(backend.to_str()) if backend else {"model": {"type": "slow"}}
    model = plain["model"]
    affixes = [model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(name)]
    if model["type"] not in {"BPE", "Unigram"} or affixes:
        raise ModelError(
            f"vocab_size trims tokenizers of the kinds BPE and Unigram, and {type(tokenizer).__name__} is one of kind "
            f"{model['type']}{f' with {affixes[0]!r} in its tokens' if affixes else ''}; leave vocab_size out"
        )
    return plain


class _Pieces:
    """The pieces of a tokenizer's model, and what each is made of."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self._model = plain["model"]
        vocab = self._model["vocab"]
        self._known = set(vocab) if isinstance(vocab, dict) else {piece for piece, _ in vocab}
        pairs = map(_pair, self._model.get("merges") or ())
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._special = {token["content"] for token in plain["added_tokens"] if token["special"]}
        self._byte_level = any(part["type"] == "ByteLevel" for part in _parts_of(plain))

    def __contains__(self, piece: str) -> bool:
        return piece in self._known

    def basic(self) -> set[str]:
        """Pieces with which every text can be encoded that the whole tokenizer encodes without an unknown token."""
        bytes_ = {piece for piece in self._known if BYTE_PIECE.fullmatch(piece)}
        if self._byte_level:
            return byte_characters().keys() & self._known
        if self._model.get("byte_fallback") and len(bytes_) == len(byte_characters()):
            # Without its own piece a space would be decoded as the character that stands for it.
            return bytes_ | ({SPACES["metaspace"]} & self._known)
        singles = {piece for piece in self._known if len(piece) == 1}
        merged = {"".join(pair) for pair in self._ranks}
        texts = self._known - merged - self._special
        return {piece for piece in texts if not set(piece) <= singles} | singles

    def parts(self, piece: str) -> set[str]:
        """The pieces that a piece is merged from, in the one way in which the tokenizer merges it."""
        symbols, found = list(piece), set(piece)
        while len(symbols) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(symbols)]
            first = ranks.index(min(ranks))
            if ranks[first] == len(self._ranks):  # of a Unigram, or only found as a whole word
                return set()
            symbols[first : first + 2] = ["".join(symbols[first : first + 2])]
            found.add(symbols[first])
        return found


def _special(tokenizer: PreTrainedTokenizerBase, plain: Mapping[str, Any], counts: NDArray[np.int64]) -> Iterator[int]:
    """Tokens with a role, of the templates, and special ones that the texts have; others of them are never used."""
    roles = [_content(value) for value in tokenizer.special_tokens_map.values() if not isinstance(value, list | tuple)]
    roles += [name for name, _ in _template_tokens(plain)]
    frame = encode_literally(tokenizer, ["a"], special=True, as_target=True)[0]
    if isinstance(unknown := plain["model"].get("unk_token"), str):
        roles.append(unknown)
    ids = tokenizer.get_vocab()
    yield from (ids[role] for role in roles if role in ids)
    if (unknown_id := plain["model"].get("unk_id")) is not None:
        yield unknown_id
    template = json.dumps(tokenizer.chat_template, ensure_ascii=False) if tokenizer.chat_template else ""
    for token in plain["added_tokens"]:
        if token["content"] in template or token["id"] in frame or (token["special"] and counts[token["id"]]):
            yield token["id"]


def _trimmed(plain: dict[str, Any], places: Mapping[int, int]) -> dict[str, Any]:
    """The JSON data of a tokenizer with the tokens whose old ids are the keys of `places`; their values are new ids."""
    model = plain["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {piece: places[old] for piece, old in model["vocab"].items() if old in places}
        pairs = map(_pair, model["merges"])
        model["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= model["vocab"].keys()]
    else:
        model["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in places]
        if model.get("unk_id") is not None:
            model["unk_id"] = places[model["unk_id"]]
    plain["added_tokens"] = [
        token | {"id": places[token["id"]]} for token in plain["added_tokens"] if token["id"] in places
    ]
    for _, entry in _template_tokens(plain):
        if isinstance(entry, dict):
            entry["ids"] = [places[old] for old in entry["ids"]]
        else:
            entry[1] = places[entry[1]]
    if plain.get("padding"):
        plain["padding"]["pad_id"] = places[plain["padding"]["pad_id"]]
    return plain


def _template_tokens(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each special token of the post-processors, with the entry that holds its id."""
    first = plain.get("post_processor") or {}
    for processor in (first, *first.get("processors", ())):
        for entry in processor.get("special_tokens", {}).values():
            yield from ((name, entry) for name in entry["tokens"])
        yield from ((processor[side][0], processor[side]) for side in ("sep", "cls") if side in processor)


def _parts_of(plain: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("pre_tokenizer", "decoder"):
        part = plain.get(name) or {"type": ""}
        yield from (part, *(part.get("pretokenizers") or part.get("decoders") or ()))


def _same(tokenizer: PreTrainedTokenizerBase, plain: Mapping[str, Any]) -> bool:
    """Whether a loaded tokenizer is the one that was written."""
    found = plain_of(tokenizer)
    merges = [[_pair(pair) for pair in one["model"].get("merges") or ()] for one in (found, plain)]
    return merges[0] == merges[1] and all(
        found[name] == plain[name] for name in ("normalizer", "pre_tokenizer", "decoder", "post_processor")
    )


def _pair(merge: str | list[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _content(token: object) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)
