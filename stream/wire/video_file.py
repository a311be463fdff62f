"""Why a video can't be opened, in the same words from every command."""

from pathlib import Path

__all__ = ["why_unreadable"]


def why_unreadable(path: Path, error: Exception | None = None) -> str:
    """Say for people why a video can't be opened, as what follows `PATH: `.

    Parameters
    ----------
    path
        The file.
    error
        What opening it raised, if that was tried.
    """
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "it is not a file"
    if path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, PermissionError):
        return "this user may not read it"
    if isinstance(error, IndexError):
        return "it has no pictures"
    return f"it is not a video, or is damaged ({getattr(error, 'strerror', None) or error})"
