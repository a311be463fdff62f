import itertools
import pickle
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posestream.acquisition.device_clock import DeviceClock

MS = 1_000_000
S = 1_000_000_000


def run(clock: DeviceClock, exposures, delays, skew_ppm: float = 0.0, tick_ns: float = 1.0, offset: int = 987_654_321):
    """Mapped times and notes of frames exposed and delayed so, of a device whose clock is fast by `skew_ppm`."""
    mapped = []
    arrived = 0
    for exposure, delay in zip(exposures, delays, strict=True):
        arrived = max(arrived, exposure + delay)
        ticks = offset + round(exposure * (1 + skew_ppm * 1e-6) / tick_ns)
        mapped.append((*clock.map(ticks, arrived), arrived))
    return mapped


def jittered(number: int, rate_hz: float, jitter_ms: float, seed: int = 0):
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
    exposures = [5 * S + round(k * 1e9 / rate_hz) for k in range(number)]
    return exposures, [round(rng.random() * jitter_ms * MS) for _ in range(number)]


@pytest.mark.parametrize("skew_ppm", [-180.0, 0.0, 50.0])
def test_mapped_times_have_far_less_jitter_than_arrivals(skew_ppm: float) -> None:
    exposures, delays = jittered(6_000, 100, 8.0)
    clock = DeviceClock(1.0)
    mapped = run(clock, exposures, delays, skew_ppm)
    error = np.array([captured for captured, _, _ in mapped]) - exposures
    late = np.array([arrived for _, _, arrived in mapped]) - exposures
    settled = slice(1_000, None)
    assert np.std(error[settled]) < 0.02 * np.std(late[settled])
    assert np.max(np.abs(error[settled])) < 0.1 * MS
    assert clock.drift_ppm == pytest.approx(skew_ppm, abs=1.0)
    assert clock.restarts == 0
    assert {note for _, note, _ in mapped} == {""}


def test_times_are_usable_from_the_first_second_on() -> None:
    exposures, delays = jittered(200, 100, 8.0)
    mapped = run(DeviceClock(1.0), exposures, delays, 50.0)
    error = np.array([captured for captured, _, _ in mapped]) - exposures
    assert np.max(error) <= 8 * MS
    assert np.max(np.abs(error[100:])) < 1 * MS


def test_a_clock_whose_rate_changes_is_followed() -> None:
    number, rate_hz = 60_000, 25  # 40 minutes, in which the device warms up by 20 ppm
    exposures, delays = jittered(number, rate_hz, 2.0)
    clock, worst = DeviceClock(1.0), 0.0
    ticks = 0.0
    for k, (exposure, delay) in enumerate(zip(exposures, delays, strict=True)):
        captured, note = clock.map(round(ticks), exposure + delay)
        ticks += 1e9 / rate_hz * (1 + 20e-6 * k / number)
        assert note == ""
        if k > 1_000:
            worst = max(worst, abs(captured - exposure))
    assert worst < 2 * MS
    assert clock.drift_ppm == pytest.approx(20.0, abs=5.0)


def test_the_memory_of_a_fit_is_bounded() -> None:
    clock, sizes = DeviceClock(1.0), []
    for k in range(1, 20_001):  # a rate that rises without end, every point a vertex
        clock.map(k * 1_000_000, k * 1_000_000 + k * k // 1_000)
        if k % 5_000 == 0:
            sizes.append(len(pickle.dumps(clock)))
    assert max(sizes) < 2 * sizes[0]


def test_a_device_that_counts_anew_gets_a_new_fit() -> None:
    exposures, delays = jittered(3_000, 100, 2.0)
    clock = DeviceClock(1.0)
    run(clock, exposures[:1_500], delays[:1_500], offset=10**15)
    again = run(clock, exposures[1_500:], delays[1_500:], offset=-exposures[1_500])
    assert again[0][1] == "device clock went back"
    assert {note for _, note, _ in again[1:]} == {""}
    assert clock.restarts == 1
    error = np.array([captured for captured, _, _ in again]) - exposures[1_500:]
    assert np.max(np.abs(error[500:])) < 0.2 * MS


def test_a_device_that_jumps_ahead_gets_a_new_fit() -> None:
    exposures, delays = jittered(3_000, 100, 2.0)
    clock = DeviceClock(1.0)
    run(clock, exposures[:1_500], delays[:1_500], offset=0)
    again = run(clock, exposures[1_500:], delays[1_500:], offset=30 * S)
    assert again[0][1] == "device clock jumped ahead"
    assert clock.restarts == 1


def test_frames_that_wait_in_a_driver_keep_the_times_of_their_exposure() -> None:
    exposures, _ = jittered(2_000, 100, 0.0)
    delays = [1 * MS] * 1_000 + [max(1 * MS, 3 * S - k * 10 * MS) for k in range(1_000)]
    mapped = run(DeviceClock(1.0), exposures, delays)
    assert all(captured == exposure + 1 * MS for (captured, _, _), exposure in zip(mapped, exposures, strict=True))


@pytest.mark.parametrize("tick_ns", [0.125, 0.5, 2.0, 8.0])
def test_a_clock_of_another_rate_than_it_says_is_not_used(tick_ns: float) -> None:
    exposures, delays = jittered(2_000, 100, 1.0)
    clock = DeviceClock(tick_ns)
    mapped = run(clock, exposures, delays, tick_ns=1.0)
    assert not clock.usable
    assert clock.drift_ppm is None
    assert [note for _, note, _ in mapped if "rate" in note] == [
        "device clock does not run at the rate that it says; arrivals are used"
    ]
    assert all(captured == arrived for captured, _, arrived in mapped[-500:])


def test_a_late_start_is_no_jump() -> None:
    """A camera whose first frames wait for the rest to start."""
    exposures, delays = jittered(500, 100, 1.0)
    delays[:3] = [400 * MS, 390 * MS, 380 * MS]
    clock = DeviceClock(1.0)
    assert {note for _, note, _ in run(clock, exposures, delays)} == {""}
    assert clock.restarts == 0


arrivals = st.lists(st.integers(0, 10**10), min_size=1, max_size=80).map(
    lambda steps: list(itertools.accumulate(steps))
)


@given(
    arrivals,
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9)), min_size=80, max_size=80),
    st.sampled_from([1.0, 8.0, 0.1, 1e6 / 90.0, 1e9]),
)
def test_never_later_than_the_arrival_and_never_before_the_frame_before(arrived, ticks, tick_ns) -> None:
    clock, times = DeviceClock(tick_ns), []
    for at, tick in zip(arrived, ticks[: len(arrived)], strict=True):
        times.append(clock.pass_over(at) if tick is None else clock.map(tick, at)[0])
        assert times[-1] <= at
    assert all(later >= earlier for earlier, later in pairwise(times))


@given(st.lists(st.integers(0, 20 * MS), min_size=2, max_size=300), st.integers(-300, 300))
def test_times_of_a_sound_device_rise_whatever_the_delays(delays, skew_ppm) -> None:
    exposures = [S + k * 10 * MS for k in range(len(delays))]
    mapped = run(DeviceClock(1.0), exposures, delays, skew_ppm)
    for (captured, _, arrived), (later, _, later_arrived) in pairwise(mapped):
        assert later > captured or later_arrived == arrived
    assert all(captured <= arrived for captured, _, arrived in mapped)
