"""Brings files to the disk under their names, whole. The one place where systems differ in this."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing", "sync_folder"]


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk, so that new and replaced ones outlive a power failure.

    Windows opens no folders; its file system writes their names down before it lets go of the change.

    Raises
    ------
    OSError
        Where the disk refuses.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; when the block ends, the file there takes the place of `path`.

    Raises
    ------
    OSError
        Where it can't be brought to the disk, or take the place.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # a leftover; or a link, which would be followed
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
