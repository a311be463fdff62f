import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posestream.inference.live.batcher import Batch, Batcher
from posestream.stream.wire.messages import CHANNELS, Frame, FrameHeader, PixelFormat
from posestream.stream.wire.settings import Mode

BUSY, IDLE = (lambda: False), (lambda: True)
MS = 1_000_000


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def frame(seq: int, camera: str = "top", height: int = 4, width: int = 6, pixel_format: PixelFormat = "gray8") -> Frame:
    header = FrameHeader(
        session="s",
        camera=camera,
        frame_seq=seq,
        device_id=None,
        device_time=None,
        captured_ns=0,
        wall_ns=0,
        sent_ns=0,
        height=height,
        width=width,
        pixel_format=pixel_format,
    )
    return Frame(header, np.zeros((height, width, CHANNELS[pixel_format]), np.uint8))


def batcher(
    mode: Mode = "every-frame", size: int = 4, wait_ms: float = 5, queue_bytes: int = 10**6
) -> tuple[Batcher, Clock]:
    clock = Clock()
    return Batcher(mode, size, round(wait_ms * MS), queue_bytes, clock), clock


def seqs(batch: Batch | None) -> list[tuple[str, int]]:
    assert batch is not None
    return [(pending.frame.header.camera, pending.frame.header.frame_seq) for pending in batch.frames]


def test_a_full_batch_is_closed_while_the_engine_is_busy() -> None:
    gatherer, _ = batcher(size=3)
    for seq in range(4):
        gatherer.put(frame(seq), 0)
    batch = gatherer.next(BUSY, 0)
    assert seqs(batch) == [("top", 0), ("top", 1), ("top", 2)]
    assert batch is not None
    assert batch.closing == "full"
    assert gatherer.next(BUSY, 0) is None
    assert gatherer.waiting == 1


def test_the_oldest_frames_wait_closes_a_batch() -> None:
    gatherer, clock = batcher(wait_ms=5)
    gatherer.put(frame(0), 0)
    clock.now = 4 * MS
    gatherer.put(frame(1), clock.now)
    assert gatherer.next(BUSY, 0) is None
    clock.now = 5 * MS
    batch = gatherer.next(BUSY, 0)
    assert seqs(batch) == [("top", 0), ("top", 1)]
    assert batch is not None
    assert (batch.closing, batch.closed_ns) == ("wait", 5 * MS)


def test_an_idle_engine_never_waits_for_company() -> None:
    gatherer, _ = batcher()
    gatherer.put(frame(0), 0)
    batch = gatherer.next(IDLE, 0)
    assert seqs(batch) == [("top", 0)]
    assert batch is not None
    assert batch.closing == "idle"
    assert gatherer.closings == {"idle": 1}


def test_cameras_of_one_size_share_a_batch_and_others_do_not() -> None:
    gatherer, _ = batcher()
    for received, one in enumerate(
        [frame(0, "a"), frame(0, "wide", width=8), frame(0, "b"), frame(0, "rgb", pixel_format="rgb24")]
    ):
        gatherer.put(one, received)
    assert seqs(gatherer.next(IDLE, 0)) == [("a", 0), ("b", 0)]
    assert seqs(gatherer.next(IDLE, 0)) == [("wide", 0)]
    assert seqs(gatherer.next(IDLE, 0)) == [("rgb", 0)]


def test_freshest_keeps_the_newest_of_each_camera_and_counts_the_rest() -> None:
    gatherer, _ = batcher("freshest")
    for seq in range(5):
        gatherer.put(frame(seq, "a"), seq)
    gatherer.put(frame(0, "b"), 9)
    assert gatherer.next(BUSY, 0) is None  # nothing goes stale in front of a busy engine
    assert seqs(gatherer.next(IDLE, 0)) == [("a", 4), ("b", 0)]
    assert gatherer.skipped == {("a", "fresher-frame"): 4}
    [run] = gatherer.take_skipped()
    assert (run.camera, run.first_seq, run.last_seq, run.count, run.cause) == ("a", 0, 3, 4, "fresher-frame")
    assert gatherer.take_skipped() == []


def test_a_bound_in_bytes_skips_the_oldest() -> None:
    gatherer, _ = batcher(size=10, queue_bytes=3 * 24)
    for seq in range(5):
        gatherer.put(frame(seq), seq)
    assert seqs(gatherer.next(IDLE, 0)) == [("top", 2), ("top", 3), ("top", 4)]
    assert gatherer.skipped == {("top", "queue-full"): 2}


def test_one_frame_larger_than_the_bound_is_still_inferred() -> None:
    gatherer, _ = batcher(queue_bytes=1)
    gatherer.put(frame(0), 0)
    assert seqs(gatherer.next(IDLE, 0)) == [("top", 0)]


def test_what_was_lost_on_the_wire_is_counted_with_its_cause() -> None:
    gatherer, _ = batcher()
    gatherer.lost_on_wire("top", 3, 7)
    assert gatherer.skipped == {("top", "lost-on-wire"): 5}
    assert [run.count for run in gatherer.take_skipped()] == [5]


@pytest.mark.parametrize("drain", [True, False])
def test_closing_gives_out_or_skips_what_waits_and_takes_nothing_more(drain: bool) -> None:
    gatherer, _ = batcher()
    gatherer.put(frame(0), 0)
    gatherer.close(drain=drain)
    gatherer.put(frame(1), 1)
    batch = gatherer.next(IDLE, 0)
    assert (batch is not None) == drain
    assert gatherer.skipped == {("top", "stopped"): 1 if drain else 2}


def test_next_wakes_when_a_frame_comes_and_when_the_engine_becomes_idle() -> None:
    gatherer = Batcher("every-frame", 4, 10**12, 10**6)
    idle = threading.Event()
    batches: list[Batch | None] = []
    taking = threading.Thread(target=lambda: batches.append(gatherer.next(idle.is_set, 20)))
    taking.start()
    gatherer.put(frame(0), 0)
    assert not batches
    idle.set()
    gatherer.wake()
    taking.join(10)
    assert seqs(batches[0]) == [("top", 0)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc")),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("pass"), st.integers(0, 10)),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(steps, st.sampled_from(["freshest", "every-frame"]), st.integers(1, 4), st.integers(24, 240))
def test_every_frame_comes_out_once_or_is_skipped_once(steps, mode: Mode, size: int, queue_bytes: int) -> None:
    gatherer, clock = batcher(mode, size, 5, queue_bytes)
    put: Counter[str] = Counter()
    out: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for step, value in [*steps, *[("take", True)] * 80]:
        if step == "put":
            gatherer.put(frame(put[value], value, width=6 if value != "c" else 5), clock.now)
            put[value] += 1
        elif step == "pass":
            clock.now += value * MS
        else:
            batch = gatherer.next(IDLE if value else BUSY, 0)
            if batch is not None:
                assert len(batch.frames) <= size
                assert len({pending.frame.pixels.shape for pending in batch.frames}) == 1
                for camera, seq in seqs(batch):
                    out[camera].append(seq)
    skipped: dict[str, list[int]] = {camera: [] for camera in out}
    for run in gatherer.take_skipped():
        skipped[run.camera] += range(run.first_seq, run.last_seq + 1)
    for camera, seqs_out in out.items():
        assert seqs_out == sorted(seqs_out)
        assert sorted(seqs_out + skipped[camera]) == list(range(put[camera]))
    assert sum(gatherer.skipped.values()) == sum(map(len, skipped.values()))
