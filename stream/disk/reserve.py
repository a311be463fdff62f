"""Space that is held back while a session runs, so that its tables can be closed on a disk that has become full."""

import os
from pathlib import Path

__all__ = ["NAME", "DiskReserve", "remove_reserve"]

NAME = "reserve"
"""Of the file."""
CHUNK_BYTES = 2**18


def remove_reserve(folder: Path) -> None:
    """Give back the space that a killed process has held in a folder.

    Raises
    ------
    OSError
        Where the file can't be removed.
    """
    (folder / NAME).unlink(missing_ok=True)


class DiskReserve:
    """A file of random bytes (which no file system stores in less) that is removed when its space is needed.

    Parameters
    ----------
    folder
        Folder in which the file is made.
    size_bytes
        Space to hold.

    Raises
    ------
    OSError
        Where there is not so much.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        with (folder / NAME).open("wb") as file:
            for _ in range(0, size_bytes, CHUNK_BYTES):
                file.write(os.urandom(CHUNK_BYTES))

    def release(self) -> None:
        """Give the space back; safe to call twice.

        Raises
        ------
        OSError
            Where the file can't be removed.
        """
        remove_reserve(self._folder)
