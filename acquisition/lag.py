"""Says when frames wait long for the encoder, and when it has caught up: not with every frame."""

__all__ = ["EncoderLag"]

BEHIND_MS = 500
"""Milliseconds of waiting from which the encoder is behind."""
CAUGHT_UP_MS = 50
REPEAT_NS = 10_000_000_000
"""Nanoseconds between two such sentences."""


class EncoderLag:
    """Follows how long the oldest frame waits.

    Parameters
    ----------
    limit_s
        Seconds from which on new frames are lost.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._behind = False
        self._told_ns: int | None = None

    def look(self, now_ns: int, waiting_ms: int) -> str | None:
        """Give what should be said now.

        Returns
        -------
        str or None
            What the encoder does, a sentence without its subject; None where nothing is new.
        """
        if waiting_ms > BEHIND_MS and (self._told_ns is None or now_ns - self._told_ns > REPEAT_NS):
            self._behind, self._told_ns = True, now_ns
            return f"is {waiting_ms} ms behind; at {1e3 * self._limit_s:g} ms frames are lost to the video"
        if self._behind and waiting_ms < CAUGHT_UP_MS:
            self._behind = False
            return "has caught up"
        return None

    @property
    def behind(self) -> bool:
        """Whether it was last said that the encoder is behind."""
        return self._behind
