"""One program at a time changes a closed session, and none changes one that is still being recorded."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from posestream.stream.disk.writer_locks import SESSION, SUPERVISOR, InUseError, file_lock, writers

__all__ = ["InUseError", "LiveSessionError", "file_lock", "refuse_live", "session_lock"]


class LiveSessionError(InUseError):
    """A session that is still being recorded; the text is for people."""


@contextlib.contextmanager
def session_lock(folder: Path, *, supervised: bool = False) -> Iterator[None]:
    """Hold a closed session for oneself; the system lets go of it when the process ends, however it ends.

    Parameters
    ----------
    folder
        The session folder.
    supervised
        Whether the supervisor of the run wants this change, so that it may hold its lock.

    Raises
    ------
    LiveSessionError
        Where a process of the run may still write to it.
    InUseError
        Where another process changes it.
    OSError
        Where the folder can't be written to.
    """
    refuse_live(folder, supervised=supervised)
    refusal = f"{folder} is being changed by another posestream; wait until it has ended"
    with file_lock(folder / f"{SESSION}.lock", refusal):
        refuse_live(folder, supervised=supervised)
        yield


def refuse_live(folder: Path, *, supervised: bool = False) -> None:
    """Raise `LiveSessionError` where a process of the run may still write to the session.

    Raises
    ------
    LiveSessionError
        Where one may.
    OSError
        Where a lock file can't be opened.
    """
    alive = writers(folder, but=(SESSION, SUPERVISOR) if supervised else (SESSION,))
    if alive:
        raise LiveSessionError(f"{folder} is being recorded by {', '.join(alive)}; wait until the run has ended")
