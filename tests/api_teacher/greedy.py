"""A student's tokens that one can read: the longest that fits is taken."""


class Greedy:
    """Tokens that are bytes, the longest first; the first of all is special."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces: list[bytes | None] = [None, *pieces]

    def __len__(self) -> int:
        return len(self.pieces)

    def of(self, token_id: int) -> bytes | None:
        """As they were given."""
        return self.pieces[token_id]

    def id_of(self, surface: bytes) -> int | None:
        """The first of several."""
        return self.pieces.index(surface) if surface in self.pieces else None

    def first_piece(self, surface: bytes) -> int | None:
        """The longest that begins it."""
        begins = [piece for piece in self.pieces if piece and surface.startswith(piece)]
        return self.id_of(max(begins, key=len)) if begins else None
