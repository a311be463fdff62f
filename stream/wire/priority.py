"""Who goes first on a busy machine: the camera before the network. The one place where systems differ in this."""

import contextlib
import sys
from typing import Literal

__all__ = ["set_priority"]

NICE = {"camera": -5, "network": 10}


def set_priority(kind: Literal["camera", "network"]) -> None:
    """Give this process more (`camera`) or less (`network`) than its share; nothing happens where that isn't allowed.

    More than its share takes a right on POSIX that users seldom have, so less for the network is what counts there.
    """
    import psutil

    with contextlib.suppress(psutil.AccessDenied, OSError):
        if sys.platform == "win32":
            above, below = psutil.ABOVE_NORMAL_PRIORITY_CLASS, psutil.BELOW_NORMAL_PRIORITY_CLASS
            psutil.Process().nice(above if kind == "camera" else below)
        else:
            psutil.Process().nice(NICE[kind])
