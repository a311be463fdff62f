"""One program at a time changes a closed session, or analyses a video. The one place where systems differ in this."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from posestream.stream.inside import refuse_link

__all__ = ["InUseError", "file_lock", "session_lock"]

LOCK_FILE = "session.lock"


class InUseError(Exception):
    """What another program is at; the text is for people."""


@contextlib.contextmanager
def session_lock(folder: Path) -> Iterator[None]:
    """Hold a session for oneself; the system lets go of it when the process ends, however it ends.

    Raises
    ------
    InUseError
        Where another process holds it.
    OSError
        Where the folder can't be written to.
    """
    with file_lock(folder / LOCK_FILE, f"{folder} is being changed by another posestream; wait until it has ended"):
        yield


@contextlib.contextmanager
def file_lock(path: Path, refusal: str) -> Iterator[None]:
    """Hold what a file stands for; it is made here, and goes when it is let go of.

    Parameters
    ----------
    path
        The file.
    refusal
        What to say where another process holds it.

    Raises
    ------
    InUseError
        Where another process holds it.
    OSError
        Where the folder can't be written to.
    """
    refuse_link(path)
    with path.open("ab") as file:
        try:
            _take(file)
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                raise BlockingIOError("it was held until a moment ago")
        except OSError as error:
            raise InUseError(refusal) from error
        try:
            yield
        finally:
            with contextlib.suppress(PermissionError):  # Windows keeps a file that is open, and so it stays
                path.unlink()


def _take(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
