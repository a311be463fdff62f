from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.stamps import FrameStamper, Loss

FRAME_NS = 10_000_000
PLAIN = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)
WITH_CLOCK = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0, tick_ns=1.0)


def test_a_plug_ins_clock_that_goes_back_is_repaired_and_noted() -> None:
    stamps = FrameStamper(PLAIN)
    said = [0, 1, 2, 1, -500, -499, 6]  # its clock was set back, and on again
    frames = [
        stamps.stamp(Capture(captured_ns=one * FRAME_NS), 7, now_ns=number * FRAME_NS + 100)
        for number, one in enumerate(said)
    ]
    captured = [frame.captured_ns for frame in frames]
    assert captured == [0, FRAME_NS, 2 * FRAME_NS, *(number * FRAME_NS + 100 for number in (3, 4, 5)), 6 * FRAME_NS]
    assert ["went back by" in frame.note for frame in frames] == [False] * 3 + [True] * 3 + [False]
    assert all(frame.wall_ns == frame.captured_ns + 7 for frame in frames)
    assert all(frame.capture.captured_ns >= frame.captured_ns for frame in frames)


def test_a_time_in_the_future_does_not_hold_up_those_behind_it() -> None:
    stamps = FrameStamper(PLAIN)
    hour = 360_000
    frames = [
        stamps.stamp(Capture(captured_ns=(number + hour * (number == 2)) * FRAME_NS), 0, now_ns=number * FRAME_NS)
        for number in range(5)
    ]
    assert [frame.captured_ns for frame in frames] == [number * FRAME_NS for number in range(5)]
    assert "3600.000000 s in the future" in frames[2].note
    assert [frame.note for frame in frames if frame.frame_seq != 2] == [""] * 4


@given(
    st.sampled_from([PLAIN, WITH_CLOCK]),
    st.lists(
        st.tuples(
            st.integers(-(2**40), 2**40),
            st.one_of(st.none(), st.integers(-(2**40), 2**40)),
            st.one_of(st.none(), st.integers(0, 20)),
        ),
        max_size=40,
    ),
    st.integers(0, 40),
    st.booleans(),
)
def test_whatever_a_plug_in_says_the_time_never_goes_back(camera, said, reopened_at, looks) -> None:
    stamps, now_ns, times = FrameStamper(camera), 0, []
    for number, (captured_ns, ticks, device_id) in enumerate(said):
        if number == reopened_at:
            stamps.begin_anew(camera)
        now_ns += FRAME_NS
        capture = Capture(captured_ns=captured_ns, device_time=ticks, device_id=device_id)
        frame = stamps.stamp(capture, 0, now_ns=now_ns if looks else None)
        assert frame.capture.captured_ns >= frame.captured_ns  # it was there when or after it was captured
        times.append(frame.captured_ns)
    assert all(earlier <= later for earlier, later in pairwise(times))


@pytest.mark.parametrize("camera", [PLAIN, WITH_CLOCK])
def test_frames_that_come_late_cost_neither_loss_nor_rate(camera) -> None:
    stamps = FrameStamper(camera)
    order = [number + (number % 10 == 4) - (number % 10 == 5) for number in range(600)]
    for place, number in enumerate(order):
        capture = Capture(captured_ns=place * FRAME_NS, device_id=number, device_time=number * FRAME_NS)
        frame = stamps.stamp(capture, 0)
        assert not frame.losses
        assert "device clock" not in frame.note
        assert frame.late == (number % 10 == 4)
    assert stamps.end() == ()
    assert stamps.clock_restarts == 0
    assert stamps.rate_hz == pytest.approx(100.0, rel=0.01)


def test_a_loss_is_told_with_the_frame_before_which_it_happened_and_the_cause() -> None:
    stamps = FrameStamper(PLAIN)
    told: list[Loss] = []
    for number, device_id in enumerate([0, 1, 5, 4, *range(6, 30)]):
        why = "cable" if device_id == 5 else ""
        told += stamps.stamp(Capture(captured_ns=number, device_id=device_id, lost_why=why), 0).losses
    assert told == [Loss(count=2, first_id=2, last_id=3, frame_seq=2, why="cable")]
    stamps.stamp(Capture(captured_ns=99, device_id=40), 0)
    assert stamps.end() == (Loss(count=10, first_id=30, last_id=39, frame_seq=28, why=""),)
