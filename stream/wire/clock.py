"""One clock for every process of a machine, and a name by which to know that machine again.

Latencies are differences of stamps that different processes took, so the clock must be the same in all of them.
`time.perf_counter_ns` is: `CLOCK_MONOTONIC` on Linux, `mach_absolute_time` on macOS, `QueryPerformanceCounter` on
Windows, each counted from the machine's start. (`time.monotonic_ns` is not used: on Windows it moved in steps of
15 ms until Python 3.13.)
"""

import platform
import time
import uuid

__all__ = ["clock_name", "monotonic_ns", "wall_ns", "wall_offset_ns"]

TRIES = 5
APART_NS = 20_000
"""Nanoseconds in which a machine that is not busy reads three clocks."""


def monotonic_ns() -> int:
    """Nanoseconds of the machine's monotonic clock, the same in every process of this machine."""
    return time.perf_counter_ns()


def wall_ns() -> int:
    """Nanoseconds since 1970 (UTC) by the machine's wall clock, which may step."""
    return time.time_ns()


def wall_offset_ns() -> int:
    """Nanoseconds by which the wall clock is ahead of the monotonic one; right on a busy machine, too.

    The wall clock is read between two looks at the other one, again where somebody else had the core meanwhile.
    """
    least, offset = None, 0
    for _ in range(TRIES):
        before, wall, after = monotonic_ns(), wall_ns(), monotonic_ns()
        if least is None or after - before < least:
            least, offset = after - before, wall - (before + after) // 2
        if least <= APART_NS:
            break
    return offset


def clock_name() -> str:
    """Name of the machine whose monotonic clock is read: stamps are comparable where it is the same."""
    node, host = uuid.getnode(), platform.node()[:32]
    made_up = (node >> 40) & 1  # RFC 9562: set where no network address was found, and then new in each process
    return host if made_up else f"{host}-{node:012x}"
