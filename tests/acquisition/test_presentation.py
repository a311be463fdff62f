from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posestream.acquisition.presentation import MAX_STEP_US, PresentationTimes

HOUR_NS = 3_600_000_000_000
FRAME_NS = 10_000_000


def times_of(nanoseconds, tick_us: int = 1) -> tuple[list[int], list[str]]:
    times = PresentationTimes(tick_us)
    given_times = [times.next(one) for one in nanoseconds]
    return [pts for pts, _ in given_times], [note for _, note in given_times]


@given(st.lists(st.one_of(st.integers(-(2**62), 2**62), st.integers(0, 10**8)), min_size=1, max_size=100))
def test_times_rise_and_never_by_more_than_a_container_holds(nanoseconds) -> None:
    times, notes = times_of(nanoseconds)
    assert times[0] == 0
    assert notes[0] == ""
    assert all(0 < later - earlier <= MAX_STEP_US for earlier, later in pairwise(times))


@given(st.lists(st.integers(1_000, 10**9), min_size=1, max_size=100))
def test_sound_times_are_kept_to_the_microsecond(steps) -> None:
    nanoseconds = [0]
    for step in steps:
        nanoseconds.append(nanoseconds[-1] + step)
    times, notes = times_of(nanoseconds)
    assert times == [one // 1_000 for one in nanoseconds]
    assert set(notes) == {""}


@pytest.mark.parametrize(
    ("nanoseconds", "repaired"),
    [
        ([*range(0, 50 * FRAME_NS, FRAME_NS), *range(-2 * HOUR_NS, -2 * HOUR_NS + 50 * FRAME_NS, FRAME_NS)], 50),
        ([9 * HOUR_NS, *range(0, 99 * FRAME_NS, FRAME_NS)], 1),
    ],
    ids=["back by hours", "first frame in the future"],
)
def test_a_clock_that_is_set_back_costs_one_repair(nanoseconds, repaired) -> None:
    times, notes = times_of(nanoseconds)
    assert [number for number, note in enumerate(notes) if note] == [repaired]
    assert "set back" in notes[repaired]
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert [step for number, step in enumerate(steps) if number != repaired - 1] == [10_000] * (len(steps) - 1)


def test_equal_stamps_are_a_microsecond_apart() -> None:
    assert times_of([5, 5, 5, 20_005]) == ([0, 1, 2, 20], ["", *["presentation time repaired"] * 2, ""])


@given(st.lists(st.one_of(st.integers(-(2**62), 2**62), st.integers(0, 10**8)), min_size=1, max_size=100))
def test_times_that_are_counted_in_milliseconds_rise_in_milliseconds(nanoseconds) -> None:
    times, _ = times_of(nanoseconds, 1_000)
    ticks = [(one + 500) // 1_000 for one in times]
    assert all(earlier < later for earlier, later in pairwise(ticks))


def test_what_differs_by_a_tick_is_left_alone() -> None:
    nanoseconds = [0, 1_400_000, 1_600_000, 10_000_000]
    assert times_of(nanoseconds, 1_000) == ([0, 1_400, 1_600, 10_000], [""] * 4)
    assert times_of([0, 1_600_000, 1_700_000], 1_000) == ([0, 1_600, 3_000], ["", "", "presentation time repaired"])
