"""What ends a program from outside: Ctrl-C, a closed terminal, the system. The one place where systems differ in this.

A terminal that is closed tells its programs so: with SIGHUP on POSIX, and with a console event on Windows, which ends
the program once its handler returns, and about 5 s after the event in any case. Windows tells of a log-off or a
shutdown only programs that have not loaded its windows (user32.dll); what a run has written is valid then, too.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["hangup_is_interrupt", "interrupts", "take_interrupts"]

_CLOSE, _LOGOFF, _SHUTDOWN = 2, 5, 6
"""Windows' console events after which the program must end; Ctrl-C and Ctrl-Break come as signals."""


class _Terminal:
    """What is known of the terminal: it can be closed once."""

    def __init__(self) -> None:
        self.closed = False
        self.descriptors = [number for number in (0, 1, 2) if _is_terminal(number)]
        self.routine: Any = None  # Windows calls it as long as the program lives

    def close(self) -> bool:
        """Take note that it was closed; gives whether that is news. What is still printed goes nowhere."""
        news, self.closed = not self.closed, True
        if news and self.descriptors:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in self.descriptors:
                os.dup2(nowhere, number)
            os.close(nowhere)
        return news


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


_terminal = _Terminal()


def take_interrupts(handler: Callable[[], None]) -> Callable[[], None]:
    """Call a handler for everything that asks the program to end, instead of being ended by it.

    That is Ctrl-C, SIGTERM (Ctrl-Break on Windows), and, once, the closing of the terminal, unless the program was
    started to outlive it (`nohup`). The handler is called in the main thread, from which this must be called, too.

    Parameters
    ----------
    handler
        What to do.

    Returns
    -------
    callable
        Puts things back as they were.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        handler()

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        if _terminal.close():  # a shell and the system tell of it, each
            handler()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    if sys.platform == "win32":
        before[signal.SIGBREAK] = signal.signal(signal.SIGBREAK, interrupt)
        _hear_console()
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)

    def put_back() -> None:
        for number, old in before.items():
            signal.signal(number, old)

    return put_back


@contextlib.contextmanager
def interrupts(handler: Callable[[], None]) -> Iterator[None]:
    """As `take_interrupts`, until the block ends."""
    put_back = take_interrupts(handler)
    try:
        yield
    finally:
        put_back()


def hangup_is_interrupt() -> None:
    """Let a closed terminal raise KeyboardInterrupt in the main thread, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if _terminal.close():
            raise KeyboardInterrupt

    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.default_int_handler)
        _hear_console()
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)


def _hear_console() -> None:
    """Turn the console's last events into SIGBREAK, and give the main thread the time that Windows allows."""
    if sys.platform == "win32" and _terminal.routine is None:
        import ctypes

        def routine(event: int) -> bool:
            if event not in {_CLOSE, _LOGOFF, _SHUTDOWN}:
                return False
            _thread.interrupt_main(signal.SIGBREAK)
            threading.Event().wait()  # Windows ends the program as soon as this returns
            return True

        _terminal.routine = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(routine)
        ctypes.WinDLL("kernel32").SetConsoleCtrlHandler(_terminal.routine, True)
