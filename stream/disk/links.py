"""Keeps what is written in its place from changing a file somewhere else."""

from pathlib import Path

__all__ = ["refuse_link"]


def refuse_link(path: Path) -> None:
    """Raise `OSError` where a file that is to be written in its place has another name, be it elsewhere.

    What a link points to would be written instead; a file with two names (a hard link, as some programs for backups
    make them) would change under both.
    """
    if path.is_symlink():
        raise OSError(f"{path} is a link; remove it")
    if path.is_file() and path.stat().st_nlink > 1:
        raise OSError(f"{path} has another name elsewhere (a hard link); put a copy in its place")
