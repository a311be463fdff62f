"""Calls to plug-ins, cameras' backends and engines: whatever they do has a name, and they can be left behind."""

import threading
import time
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from posestream.stream.wire.errors import UserError

__all__ = ["HANG_S", "AbandonedError", "Guard", "PluginError"]

P = ParamSpec("P")
T = TypeVar("T")

HANG_S = 10.0
"""Seconds after which a call that should have returned is given up."""
LOOK_S = 0.5
"""Seconds between two looks that count at most: while a computer is suspended nothing hangs."""


class PluginError(UserError):
    """A plug-in did what its contract does not allow; the text is for people and names it."""


class AbandonedError(Exception):
    """A call came back that nobody waits for any more: its thread ends and touches nothing."""


class Guard:
    """Stands between a thread and the plug-in that it calls.

    A plug-in may raise what is no error of its contract, even SystemExit, which would end the thread in silence: it
    becomes a `PluginError`. It may also never return. Another thread sees that (`watch`) and can give the call up
    (`abandon`); from then on every call ends with `AbandonedError`.

    Parameters
    ----------
    name
        Who it is, for messages.
    expected
        Errors of the contract, which pass.
    """

    def __init__(self, name: str, expected: tuple[type[Exception], ...]) -> None:
        self.name, self._expected = name, expected
        self._lock = threading.Lock()
        self._call = ""  # under way
        self._number = 0
        self._abandoned = False
        self._watched, self._watched_s, self._looked = 0, 0.0, time.monotonic()
        self.longest_s = 0.0
        """Seconds that the longest call took."""

    def call(self, what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the plug-in.

        Parameters
        ----------
        what
            What people call it, for example `read`.
        function
            The function, with its arguments.

        Raises
        ------
        PluginError
            Where it raised what its contract does not know. The traceback goes to stderr, which is the process's log.
        AbandonedError
            Where the plug-in was given up.
        """
        with self._lock:
            self._check()
            self._call, began = what, time.monotonic()
            self._number += 1
        try:
            result = function(*args, **kwargs)
        except self._expected:
            self._return(began)
            raise
        except BaseException as error:
            traceback.print_exception(error)
            self._return(began)
            text = f": {error}" if str(error) else ""
            raise PluginError(f"{self.name} raised {type(error).__name__} in {what}{text}") from error
        self._return(began)
        return result

    def _return(self, began: float) -> None:
        with self._lock:
            self._check()
            self._call = ""
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _check(self) -> None:
        if self._abandoned:
            raise AbandonedError(f"{self.name} was given up")

    def watch(self) -> tuple[str, float]:
        """Look at the call under way; ask a few times a second.

        Returns
        -------
        tuple of str and float
            What is called (empty: nothing), and the seconds for which it has been seen to last.
        """
        now = time.monotonic()
        with self._lock:
            since, self._looked = min(now - self._looked, LOOK_S), now
            if not self._call or self._watched != self._number:
                self._watched, self._watched_s = self._number, 0.0
            else:
                self._watched_s += since
            return self._call, self._watched_s

    def abandon(self) -> str:
        """Give up the call under way, and the plug-in; gives what was called, empty where the plug-in is not at it."""
        with self._lock:
            self._abandoned = self._abandoned or bool(self._call)
            return self._call
