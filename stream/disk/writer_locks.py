"""Lock files that say which processes may still write to a session, whatever its files look like.

The operating system lets go of a lock when its process ends, however it ends. A lock file that is left behind by a
killed process is held by nobody and no obstacle.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from posestream.stream.disk.links import refuse_link
from posestream.stream.wire.errors import InputError

__all__ = ["SESSION", "SUPERVISOR", "HeldFile", "InUseError", "file_lock", "is_lock", "writer_lock", "writers"]

SUPERVISOR = "supervisor"
SESSION = "session"
"""Who changes a session that is closed: recover, backfill."""
TITLES = {
    SUPERVISOR: "the supervisor",
    "poses": "the pose recorder",
    SESSION: "another posestream (recover or backfill)",
}
CAMERA = "camera-"
ENDING = ".lock"
WAIT_S = 2.0
"""Seconds in which a program that only looks whether a lock is held has let go of it again."""


class InUseError(InputError):
    """Another program uses it; the text is for people."""


class HeldFile:
    """A lock file that this process holds; it is made here, and removed when it is released.

    Parameters
    ----------
    path
        The file.
    refusal
        What to say where another process holds it.
    wait_s
        Seconds to wait for it.

    Raises
    ------
    InUseError
        Where another process holds it.
    OSError
        Where the file can't be made or opened: nobody need hold it.
    """

    def __init__(self, path: Path, refusal: str, *, wait_s: float = 0.0) -> None:
        refuse_link(path)
        self._path = path
        # The thread that releases it need not be the one that took it.
        self._lock = FileLock(path, timeout=wait_s, thread_local=False)
        try:
            self._lock.acquire(poll_interval=0.01)
        except Timeout as error:
            raise InUseError(refusal) from error

    def release(self) -> None:
        """Remove the file and let go of it; safe to call twice."""
        if not self._lock.is_locked:
            return
        removed = False
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            self._path.unlink()
            removed = True
        self._lock.release()
        if not removed:  # which fails where the next one has it open already
            with contextlib.suppress(OSError):
                self._path.unlink()


@contextlib.contextmanager
def file_lock(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file for the length of a block; see `HeldFile`."""
    held = HeldFile(path, refusal)
    try:
        yield
    finally:
        held.release()


def writer_lock(session: Path, role: str) -> HeldFile:
    """Say that this process may write to a session, until the lock is released or the process ends.

    Parameters
    ----------
    session
        The session's folder.
    role
        `supervisor`, `camera:NAME` or `poses`.

    Raises
    ------
    InUseError
        Where another process of this role writes to the session.
    OSError
        Where the lock file can't be made.
    """
    name = role.replace(":", "-")
    return HeldFile(session / f"{name}{ENDING}", f"{session} is being written to by {_title(name)}", wait_s=WAIT_S)


def writers(session: Path, *, but: tuple[str, ...] = ()) -> list[str]:
    """Say who may still write to a session; nobody where the list is empty.

    Parameters
    ----------
    session
        The session's folder.
    but
        Whom to leave out: `SUPERVISOR`, `SESSION`.

    Returns
    -------
    list of str
        What people call these processes.

    Raises
    ------
    OSError
        Where a lock file can't be opened, so that nobody knows.
    """
    names = sorted(path.name for path in session.glob(f"*{ENDING}") if is_lock(path.name))
    found = (name.removesuffix(ENDING) for name in names)
    return [_title(name) for name in found if name not in but and _is_held(session / f"{name}{ENDING}")]


def is_lock(name: str) -> bool:
    """Say whether a file in a session's folder is a lock, by its name."""
    stem, ending = name[: -len(ENDING)], name[-len(ENDING) :]
    return ending == ENDING and (stem in TITLES or stem.startswith(CAMERA))


def _title(name: str) -> str:
    return TITLES.get(name) or f"camera {name.removeprefix(CAMERA)}"


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    refuse_link(path)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False
