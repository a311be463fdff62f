"""`python -m posestream.acquisition.backends.discovery BACKEND`: what one backend can reach, as JSON.

A process of its own for each backend: a vendor's library that hangs or crashes takes nothing else with it.
"""

import sys
from importlib.metadata import entry_points

import msgspec

from posestream.acquisition.camera import ENTRY_POINTS, CameraError, FoundCamera

__all__ = ["Search", "main", "search"]


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to."""

    cameras: tuple[FoundCamera, ...] = ()
    """What is there."""
    searches: bool = True
    """Whether the backend has devices to search for; a video file is found by its path."""
    error: str = ""
    """Why the backend can't be used here; empty where it can."""


def search(backend: str) -> Search:
    """Search for the devices of an installed backend."""
    (entry,) = entry_points(group=ENTRY_POINTS, name=backend)
    try:
        find = getattr(entry.load(), "find", None)
        return Search(searches=False) if find is None else Search(cameras=tuple(find()))
    except (CameraError, ImportError, OSError) as error:
        return Search(error=str(error))


def main() -> None:
    """Print what the backend that the command line names has found."""
    sys.stdout.buffer.write(msgspec.json.encode(search(sys.argv[1])))


if __name__ == "__main__":
    main()
