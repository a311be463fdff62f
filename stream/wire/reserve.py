"""Space that is held back while a session runs, so that its tables can be closed on a disk that has become full."""

import os
from pathlib import Path

__all__ = ["DiskReserve"]

CHUNK_BYTES = 2**18


class DiskReserve:
    """A file of random bytes (which no file system stores in less) that is removed when its space is needed.

    Parameters
    ----------
    path
        The file to make.
    size_bytes
        Space to hold.

    Raises
    ------
    OSError
        Where there is not so much.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        with path.open("wb") as file:
            for _ in range(0, size_bytes, CHUNK_BYTES):
                file.write(os.urandom(CHUNK_BYTES))

    def release(self) -> None:
        """Give the space back; safe to call twice.

        Raises
        ------
        OSError
            Where the file can't be removed.
        """
        self._path.unlink(missing_ok=True)
