"""A tokenizer for tests: byte strings as tokens, the longest match first."""


class LongestMatch:
    """Tokens given as bytes; id 0 is a special token. Tokenization takes the longest match."""

    def __init__(self, *tokens: bytes) -> None:
        self.tokens: list[bytes | None] = [None, *tokens]

    def __len__(self) -> int:
        return len(self.tokens)

    def of(self, token_id: int) -> bytes | None:
        """The bytes as given; None for the special token."""
        return self.tokens[token_id]

    def id_of(self, surface: bytes) -> int | None:
        """The first id with these bytes."""
        return self.tokens.index(surface) if surface in self.tokens else None

    def first_piece(self, surface: bytes) -> int | None:
        """The longest token that begins these bytes."""
        begins = [piece for piece in self.tokens if piece and surface.startswith(piece)]
        return self.id_of(max(begins, key=len)) if begins else None
