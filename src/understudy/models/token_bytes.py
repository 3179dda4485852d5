"""The bytes that a tokenizer's ids stand for, and back.

For tokenizers whose pieces are text: byte-level BPE (GPT-2, BART, OPT, Llama 3, Qwen), where a character stands for a
byte, and Metaspace (T5, Llama 2, Pegasus, mBART, our own), where "▁" stands for a space and `<0x0A>` for a byte. What
another tokenizer's pieces have to do with these bytes is no matter of this module.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError

Kind = Literal["byte-level", "metaspace"]
SPACES: dict[Kind, str] = {"byte-level": "Ġ", "metaspace": "▁"}
"""How a piece writes a space."""
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_characters() -> dict[str, int]:
    """Character -> the byte it stands for in a byte-level piece.

    Source: Radford et al. 2019, section 2.2; printable bytes are themselves, the others follow from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class TokenBytes:
    """The bytes of each token id of a tokenizer. Special tokens have none.

    Args:
        tokenizer: a fast one, of one of the two kinds.

    Raises:
        ModelError: if the tokenizer is of another kind.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = _backend_of(tokenizer)
        self._kind = _kind_of(self._backend, type(tokenizer).__name__)
        # Gemma turns spaces into pieces before it cuts the text, if it cuts it at all.
        self._spaces_first = self._kind == "metaspace" and not _cuts_by_space(self._backend)
        self._bytes = _bytes_of(tokenizer, self._kind)
        self._ids = _ids_of(tokenizer, self._bytes)
        self._longest = max(map(len, self._ids), default=0)
        self._first: dict[bytes, int | None] = {}

    def __len__(self) -> int:
        """How many ids there are: one more than the largest."""
        return len(self._bytes)

    def of(self, token_id: int) -> bytes | None:
        """The bytes of an id; None for a special token."""
        return self._bytes[token_id]

    def id_of(self, surface: bytes) -> int | None:
        """The id that stands for exactly these bytes; None if none does.

        Of several, the lowest that is written as text: Llama 2 has "A" and the byte `<0x41>`, and a tokenizer falls
        back to the byte only where it has no text.
        """
        return self._ids.get(surface)

    def first_piece(self, surface: bytes) -> int | None:
        """The first token id of these bytes within a text.

        Nothing is put before them: "lo" goes on with a word, " lo" begins one. Bytes that are not a text (half a
        character) have the longest piece they begin with.

        Returns:
            An id whose bytes begin `surface`; None where the tokenizer changes the text (T5 reads a line break as a
            space) or knows no piece for it.
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
        pieces = self._backend.model.tokenize(self._first_word(text))
        found = self._bytes[pieces[0].id] if pieces else None
        return pieces[0].id if found and surface.startswith(found) else None

    def _first_word(self, text: str) -> str:
        """The first of the parts that the tokenizer cuts a text into before it looks for pieces."""
        space = SPACES[self._kind]
        if self._spaces_first:
            return text.replace(" ", space)
        words = [str(word) for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(text)]
        if words and not text.startswith(" "):
            # The space that the tokenizer puts before every text. The model is asked for the word itself: with any
            # text before it, its pieces could be joined to those of that text.
            words[0] = words[0].removeprefix(space)
        return next(filter(None, words), "")


def _backend_of(tokenizer: PreTrainedTokenizerBase) -> Any:  # noqa: ANN401 - the library's class is untyped
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"the bytes of a token are asked of a fast tokenizer, and {type(tokenizer).__name__} is none; use a "
            "student with another tokenizer, or objective cross_entropy"
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
        f"the pieces of {name} are neither bytes nor text with its spaces (it decodes by "
        f"{', '.join(str(part['type']) for part in parts) or 'nothing'}), so what a token stands for is not known; use "
        "a student with a byte-level or Metaspace tokenizer, or objective cross_entropy"
    )


def _cuts_by_space(backend: Any) -> bool:  # noqa: ANN401 - as above
    plain = json.loads(backend.to_str())
    return any(part["type"] == "Metaspace" for part in _parts(plain.get("pre_tokenizer")))


def _parts(plain: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A step of a tokenizer, or the steps of a sequence."""
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
            byte = _BYTE_PIECE.fullmatch(piece)
            token_bytes[token_id] = bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
        elif all(character in characters for character in piece):
            token_bytes[token_id] = bytes(characters[character] for character in piece)
    for token_id, added in tokenizer.added_tokens_decoder.items():  # they are written as they are
        token_bytes[token_id] = None if added.special else added.content.encode()
    for token_id in tokenizer.all_special_ids:
        token_bytes[token_id] = None
    return token_bytes


def _ids_of(tokenizer: PreTrainedTokenizerBase, token_bytes: list[bytes | None]) -> dict[bytes, int]:
    known = [(token_id, surface) for token_id, surface in enumerate(token_bytes) if surface]
    pieces = tokenizer.convert_ids_to_tokens([token_id for token_id, _ in known])
    fallbacks = {token_id for (token_id, _), piece in zip(known, pieces, strict=True) if _BYTE_PIECE.fullmatch(piece)}
    ids: dict[bytes, int] = {}
    for token_id, surface in sorted(known, key=lambda pair: (pair[0] in fallbacks, pair[0])):
        ids.setdefault(surface, token_id)
    return ids
