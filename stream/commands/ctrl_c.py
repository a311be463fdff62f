"""Answers Ctrl-C at once, whatever the main thread is doing.

Python calls a signal's handler when the main thread comes back from a library, which while a network is loaded or
compiled takes seconds. Its wakeup descriptor is written to at once: a thread that waits there says that Ctrl-C was
heard, and ends the process where the library does not come back.
"""

import contextlib
import functools
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import click

from posestream.stream.wire.errors import FAILED

__all__ = ["answer_interrupts", "interruptible"]

PATIENCE_S = 3.0
"""Seconds after Ctrl-C in which a library may come back."""


@contextlib.contextmanager
def answer_interrupts(text: str, tell: Callable[[str], None], busy: Callable[[], bool]) -> Iterator[None]:
    """Answer Ctrl-C within the block; the signal's own handler is called as ever. For the main thread alone.

    Parameters
    ----------
    text
        What is said at the first Ctrl-C.
    tell
        Shows it, in another thread.
    busy
        Whether the main thread may be in a library and has nothing to close: where that is still so `PATIENCE_S` after
        Ctrl-C, the process ends with status 1.
    """
    heard, wake = socket.socketpair()
    wake.setblocking(False)
    closing = threading.Event()

    def watch() -> None:
        told = False
        while not closing.is_set():
            if not select.select([heard], [], [], PATIENCE_S)[0]:
                if told and busy() and not closing.is_set():
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(1)
            elif signal.SIGINT in heard.recv(64) and not told:
                told = True
                tell(text)

    watcher = threading.Thread(target=watch, name="interrupts", daemon=True)
    before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        closing.set()
        wake.send(b"\0")
        watcher.join(1)
        heard.close()
        wake.close()


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that works in libraries for seconds answer Ctrl-C at once, and end soon."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        def tell(text: str) -> None:
            click.echo(text, err=True)

        try:
            with answer_interrupts("interrupted; ending", tell, busy=lambda: True):
                command(*args, **kwargs)
        except KeyboardInterrupt:
            sys.exit(FAILED)

    return wrapped
