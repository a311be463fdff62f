"""Keeps what the processes of a run printed that failed before it had a session folder."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from posestream.stream.run.children import Child

__all__ = ["LOGS_VARIABLE", "keep_start_logs", "start_logs_folder"]

LOGS_VARIABLE = "POSESTREAM_LOGS"
"""Environment variable that names another folder."""
KEPT = 20
"""Failed starts whose logs are kept; the oldest go."""


def start_logs_folder() -> Path:
    """Folder of the logs of failed starts, a folder each; need not exist."""
    if named := os.environ.get(LOGS_VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_log_path

    return user_log_path("posestream", appauthor=False)


def keep_start_logs(children: Iterable[Child]) -> Path | None:
    """Keep what the processes of a failed start printed; gives the folder, none where there is nothing to keep.

    A disk that takes no more keeps nobody from the error that is to be told.
    """
    printed = [child for child in children if child.log_name]
    if not printed:
        return None
    home = start_logs_folder()
    folder = home / f"{datetime.now().astimezone():%Y-%m-%dT%H-%M-%S}_{os.getpid()}"
    try:
        for child in printed:
            child.keep_log(folder)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        for old in sorted(path for path in home.iterdir() if path.is_dir())[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return folder
