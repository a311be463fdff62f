"""Threads that die: one that ends on an error that nobody caught does not end its process, and must not be missed."""

import sys
import threading
import traceback
from collections import deque
from types import TracebackType

from posestream.stream.wire.errors import UserError

__all__ = ["ThreadDeaths", "ThreadDiedError"]


class ThreadDiedError(UserError):
    """A thread ended on an error that nobody caught; the text is for people."""


class ThreadDeaths:
    """Hears of every thread of this process that dies, from now until `close`.

    SystemExit, of which Python itself says nothing, is a death of our own threads; others may end so.
    """

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._before = threading.excepthook
        threading.excepthook = self._hear

    def _hear(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is SystemExit and not _is_ours(args.exc_traceback):
            return
        traceback.print_exception(args.exc_type, args.exc_value, args.exc_traceback, file=sys.stderr)
        name = args.thread.name if args.thread is not None else "?"
        what = f": {args.exc_value}" if str(args.exc_value or "") else ""
        self._texts.append(f'its thread "{name}" died of {args.exc_type.__name__}{what}')

    def take(self) -> str:
        """Say which thread died since the last call, the first of them; empty where none did."""
        return self._texts.popleft() if self._texts else ""

    def check(self) -> None:
        """See that all threads live or ended as they should.

        Raises
        ------
        ThreadDiedError
            Where one died since the last look.
        """
        if text := self.take():
            raise ThreadDiedError(text)

    def close(self) -> None:
        """Hear no more."""
        threading.excepthook = self._before


def _is_ours(traceback_: TracebackType | None) -> bool:
    """Whether a thread was made to run a function of ours."""
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(traceback_)]
    return next((name for name in names if name != "threading"), "").startswith("posestream.")
