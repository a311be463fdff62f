"""Who goes first on a busy machine: the camera before the network. The one place where systems differ in this."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

from posestream.stream.wire.errors import InputError

__all__ = ["CpusError", "check_cpus", "set_cpus", "set_priority"]

NICE = {"camera": -5, "network": 10}


class CpusError(InputError):
    """Cores that a process can't be kept to; the text is for people."""


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


def check_cpus(cpus: Sequence[int]) -> None:
    """See that a process on this machine can be kept to these cores.

    Raises
    ------
    CpusError
        Where it can't: the system has no such thing (macOS), or there is no such core.
    """
    process = _process()
    if not hasattr(process, "cpu_affinity"):
        raise CpusError(f"cpus: on this system ({sys.platform}) nobody chooses a program's cores; leave cpus out")
    has = sorted(process.cpu_affinity())
    if absent := sorted(set(cpus) - set(has)):
        raise CpusError(
            f"cpus = {list(cpus)}: there is no core {', '.join(map(str, absent))} here; "
            f"this machine lets posestream have {_runs(has)}"
        )


def set_cpus(cpus: Sequence[int]) -> list[int]:
    """Keep this process, with all threads that it has or will have, to these cores; gives those it may run on now.

    Raises
    ------
    CpusError
        As `check_cpus`, or where the system refuses.
    """
    check_cpus(cpus)
    process = _process()
    try:
        if sys.platform == "linux":  # here a process is kept to cores thread by thread, and libraries have some already
            for thread in process.threads():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, cpus)
        else:
            process.cpu_affinity(list(cpus))
    except OSError as error:
        raise CpusError(f"cpus = {list(cpus)}: the system refuses: {error.strerror}") from error
    return sorted(process.cpu_affinity())


def _process() -> Any:
    import psutil

    return psutil.Process()


def _runs(cores: Sequence[int]) -> str:
    first = cores[0]
    if len(cores) > 2 and list(cores) == list(range(first, first + len(cores))):
        return f"cores {first} to {cores[-1]}"
    return f"{'core' if len(cores) == 1 else 'cores'} {', '.join(map(str, cores))}"
