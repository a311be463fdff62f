"""Waiting for what is sure to happen, instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found], seconds: float = 60.0, *, meanwhile: Callable[[], object] = lambda: None
) -> Found:
    """Wait until a condition holds, and give what it gave.

    It fails after so many seconds, which only a test that is broken takes, or as soon as `meanwhile` raises.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        meanwhile()
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.005)
    return found
