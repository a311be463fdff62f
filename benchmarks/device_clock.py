"""How well a device's clock is mapped to the host's, and what it costs: simulated devices, a table as output.

python benchmarks/device_clock.py
"""

import random
import time
from typing import NamedTuple

import numpy as np
from report import markdown

from posestream.acquisition.device_clock import DeviceClock

SETTLED_S = 10


class Case(NamedTuple):
    """A device and its way to the host."""

    rate_hz: float
    seconds: float
    jitter_ms: float
    tail: bool
    """Delays of a Pareto distribution up to a hundred times `jitter_ms`, not uniform ones up to it."""
    skew_ppm: float
    warming_ppm: float
    """By how much the skew rises to the end."""


CASES = (
    Case(100, 60, 8, False, 50, 0),
    Case(1_000, 60, 8, False, 50, 0),
    Case(100, 60, 1, True, -100, 0),
    Case(30, 600, 30, False, 80, 0),
    Case(100, 1_800, 2, False, 30, 5),
    Case(25, 2_400, 2, False, 0, 20),
)


def measure(case: Case) -> dict[str, str]:
    """Map the frames of a device; gives a row of the table."""
    rng, clock, number = random.Random(1), DeviceClock(1.0), int(case.rate_hz * case.seconds)  # noqa: S311
    ticks, arrived, cost_s = 0.0, 0, 0.0
    mapped_us, arrived_us = np.empty(number), np.empty(number)
    for k in range(number):
        exposure = round(k * 1e9 / case.rate_hz)
        delay_ms = min(100.0, rng.paretovariate(1.5) - 1) if case.tail else rng.random()
        arrived = max(arrived, exposure + round(delay_ms * case.jitter_ms * 1e6))
        began = time.thread_time()
        captured, _ = clock.map(round(ticks), arrived)
        cost_s += time.thread_time() - began
        ticks += 1e9 / case.rate_hz * (1 + (case.skew_ppm + case.warming_ppm * k / number) * 1e-6)
        mapped_us[k], arrived_us[k] = (captured - exposure) / 1e3, (arrived - exposure) / 1e3
    settled = slice(int(SETTLED_S * case.rate_hz), None)
    mapped_us, arrived_us = mapped_us[settled], arrived_us[settled]
    device = f"{case.rate_hz:g} frames/s for {case.seconds:g} s, {case.skew_ppm:+g} ppm"
    device += f" rising by {case.warming_ppm:g}" if case.warming_ppm else ""
    delays = f"long tail, median about {case.jitter_ms * 0.6:g} ms" if case.tail else f"0 to {case.jitter_ms:g} ms"
    return {
        "device": device,
        "delays": delays,
        "arrivals: sd / max, us": f"{arrived_us.std():,.0f} / {arrived_us.max():,.0f}",
        "mapped: sd / max, us": f"{mapped_us.std():.1f} / {np.abs(mapped_us).max():.1f}",
        "interval, arrivals": f"{np.diff(arrived_us).std():,.0f}",
        "mapped": f"{np.diff(mapped_us).std():.2f}",
        "drift": f"{clock.drift_ppm:+.1f} ppm",
        "cost": f"{cost_s / number * 1e6:.1f} us",
    }


def main() -> None:
    """Print the table."""
    print(markdown([measure(case) for case in CASES]))


if __name__ == "__main__":
    main()
