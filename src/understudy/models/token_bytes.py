"""The bytes that a tokenizer's ids represent, and the ids of bytes.

It supports byte-level BPE (GPT-2, BART, OPT, Llama 3, Qwen), where a character represents a byte, and Metaspace (T5,
Llama 2, Pegasus, mBART, our own), where "▁" represents a space and `<0x0A>` a byte. Comparing two tokenizers by their
bytes is not part of this module.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError

Kind = Literal["byte-level", "metaspace"]
SPACES: dict[Kind, str] = {"byte-level": "Ġ", "metaspace": "▁"}
"""The character of a piece that represents a space."""
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_characters() -> dict[str, int]:
    """Character -> the byte it represents in a byte-level piece.

    Source: Radford et al. 2019, section 2.2; printable bytes are themselves, the others follow from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class TokenBytes:
    """The bytes of each token id of a tokenizer; special tokens have none.

    Args:
        tokenizer: a fast tokenizer of one of the two kinds.

    Raises:
        ModelError: if the tokenizer is of another kind.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = _backend_of(tokenizer)
        self._kind = _kind_of(self._backend, type(tokenizer).__name__)
        # Gemma replaces spaces before it splits the text, if it splits it at all.
        self._spaces_first = self._kind == "metaspace" and not _splits_by_space(self._backend)
        self._bytes = _bytes_of(tokenizer, self._kind)
        self._ids = _ids_of(tokenizer, self._bytes)
        self._added: dict[str, int] = {
            own.content: added for added, own in tokenizer.added_tokens_decoder.items() if not own.special
        }
        self._longest = max(map(len, self._ids), default=0)
        self._first: dict[bytes, int | None] = {}

    def __len__(self) -> int:
        """The number of ids: one more than the largest."""
        return len(self._bytes)

    def of(self, token_id: int) -> bytes | None:
        """The bytes of an id; None for a special token."""
        return self._bytes[token_id]

    def id_of(self, surface: bytes) -> int | None:
        """The id that represents exactly these bytes; None if there is none.

        Of several, the lowest that is text: Llama 2 has "A" and the byte `<0x41>`, and a tokenizer falls back to the
        byte only if no text fits.
        """
        return self._ids.get(surface)

    def first_piece(self, surface: bytes) -> int | None:
        """The first token id of these bytes within a text.

        No space is added before them: "lo" continues a word, " lo" starts one. For bytes that are not a text (half a
        character) it is the longest piece that they start with.

        Returns:
            An id whose bytes `surface` starts with; None if the tokenizer changes the text (T5 replaces a line break by
            a space) or has no piece for it.
        """
        if surface not in self._first:
            self._first[surface] = self._first_piece(surface)
        return self._first[surface]

    def _first_piece(self, surface: bytes) -> int | None:
        try:
            text = surface.decode()
        except UnicodeDecodeError:
            lengths = range(min(len(surface), self._longest), 0, -1)
            return next((self._ids[surface[:length]] for length in lengths if surface[:length] in self._ids), None)
        # Added tokens are found in a text before it is split, and the model does not know them.
        found_at = [(text.find(content), -len(content), content) for content in self._added if content in text]
        if found_at:
            start, _, content = min(found_at)
            if start == 0:
                return self._added[content]
            text = text[:start]
        pieces = self._backend.model.tokenize(self._first_word(text))
        found = self._bytes[pieces[0].id] if pieces else None
        return pieces[0].id if found and surface.startswith(found) else None

    def _first_word(self, text: str) -> str:
        """The first of the parts that the tokenizer splits a text into before it looks for pieces."""
        space = SPACES[self._kind]
        if self._spaces_first:
            return text.replace(" ", space)
        words = [str(word) for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(text)]
        if words and not text.startswith(" "):
            # Remove the space that the tokenizer adds before every text. Encoding the word after another text
            # would not avoid it: the pieces of both could be merged.
            words[0] = words[0].removeprefix(space)
        return next(filter(None, words), "")


def _backend_of(tokenizer: PreTrainedTokenizerBase) -> Any:  # noqa: ANN401 - the library's class is untyped
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"the bytes of tokens need a fast tokenizer, and {type(tokenizer).__name__} is not one; use a student with "
            "another tokenizer, or objective cross_entropy"
        )
    return backend


def _kind_of(backend: Any, name: str) -> Kind:  # noqa: ANN401 - as above
    plain = json.loads(backend.to_str())
    parts = [part for key in ("decoder", "pre_tokenizer") for part in _parts(plain.get(key))]
    if any(part["type"] == "ByteLevel" for part in parts):
        return "byte-level"
    if any(part["type"] == "Metaspace" or part.get("pattern") == {"String": "▁"} for part in parts):
        return "metaspace"
    raise ModelError(
        f"the tokens of {name} are neither byte-level nor Metaspace (its decoder and pre-tokenizer are "
        f"{', '.join(str(part['type']) for part in parts) or 'missing'}), so their bytes are unknown; use "
        "a student with a byte-level or Metaspace tokenizer, or objective cross_entropy"
    )


def _splits_by_space(backend: Any) -> bool:  # noqa: ANN401 - as above
    plain = json.loads(backend.to_str())
    return any(part["type"] == "Metaspace" for part in _parts(plain.get("pre_tokenizer")))


def _parts(plain: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A component of a tokenizer, or the components of a sequence."""
    if plain:
        yield plain
        for part in plain.get("decoders") or plain.get("pretokenizers") or ():
            yield from _parts(part)


def _bytes_of(tokenizer: PreTrainedTokenizerBase, kind: Kind) -> list[bytes | None]:
    characters = byte_characters()
    pieces: dict[str, int] = tokenizer.get_vocab()
    token_bytes: list[bytes | None] = [None] * (max(pieces.values(), default=-1) + 1)
    for piece, token_id in pieces.items():
        if kind == "metaspace":
            byte = BYTE_PIECE.fullmatch(piece)
            token_bytes[token_id] = bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
        elif all(character in characters for character in piece):
            token_bytes[token_id] = bytes(characters[character] for character in piece)
    for token_id, added in tokenizer.added_tokens_decoder.items():  # their content is plain text
        token_bytes[token_id] = None if added.special else added.content.encode()
    for token_id in tokenizer.all_special_ids:
        token_bytes[token_id] = None
    return token_bytes


def _ids_of(tokenizer: PreTrainedTokenizerBase, token_bytes: list[bytes | None]) -> dict[bytes, int]:
    with_bytes = [(token_id, surface) for token_id, surface in enumerate(token_bytes) if surface]
    pieces = tokenizer.convert_ids_to_tokens([token_id for token_id, _ in with_bytes])
    fallbacks = {
        token_id for (token_id, _), piece in zip(with_bytes, pieces, strict=True) if BYTE_PIECE.fullmatch(piece)
    }
    ids: dict[bytes, int] = {}
    for token_id, surface in sorted(with_bytes, key=lambda pair: (pair[0] in fallbacks, pair[0])):
        ids.setdefault(surface, token_id)
    return ids
