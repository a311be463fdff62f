"""Receiver, batcher, engine thread and pose publisher over real sockets, with an engine that can be told what to do."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from posestream.inference.engine import Precision
from posestream.inference.engines.guarded import GuardedEngine, engine_guard
from posestream.inference.filters.chain import FilterChain, PoseFilter
from posestream.inference.live.batcher import Batcher
from posestream.inference.live.pipeline import Pipeline
from posestream.inference.live.pose_publisher import PosePublisher
from posestream.inference.live.receiver import Receiver
from posestream.inference.pose import FramePose
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.endpoints import local_endpoint
from posestream.stream.wire.messages import (
    END,
    SKIPPED,
    Event,
    FrameHeader,
    MessageDecoder,
    PixelFormat,
    Pose,
    StreamInfo,
    encode_event,
    encode_frame,
)
from posestream.stream.wire.settings import Mode
from posestream.stream.wire.sockets import Publisher, subscriber

from ...support.waiting import until

INFO = StreamInfo(camera="top", endpoint="", height=4, width=6, pixel_format="gray8")


class ToldEngine:
    """Gives each frame's first pixel as every coordinate; waits while it is held; fails when it is told to."""

    name, reason, bodyparts = "told", "", ("a", "b")
    precision: Precision = "float32"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.fail_after = 10**9
        self.batches: list[int] = []

    @staticmethod
    def poses(pixels: np.ndarray) -> np.ndarray:
        poses = np.full((len(pixels), 2, 3), 0.5, np.float32)
        poses[..., :2] = pixels[:, None, None]
        return poses

    def prepare(self, *_: object, **__: object) -> None:
        return

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        assert self.go.wait(60)
        if len(self.batches) >= self.fail_after:
            raise RuntimeError("the engine broke")
        self.batches.append(len(frames))
        return self.poses(frames[:, 0, 0, 0])


class OneBehind:
    """Gives each pose when the next one has come; fails at the frame that it is told to."""

    fail_at = 10**9

    def __init__(self) -> None:
        self._held: list[FramePose] = []

    def push(self, pose: FramePose) -> Iterable[FramePose]:
        if pose.frame.frame_seq == self.fail_at:
            raise RuntimeError("the filter broke")
        held, self._held = self._held, [pose]
        return held

    def flush(self) -> Iterable[FramePose]:
        return self._held


class FailingFilter(OneBehind):
    fail_at = 5


class Rig:
    def __init__(
        self, context: zmq.Context[Any], mode: Mode, batch_size: int, filters: Mapping[str, Callable[[], PoseFilter]]
    ) -> None:
        self.camera = Publisher(context, local_endpoint("frames"), queue_bytes=2**22, message_bytes=24)
        info = msgspec.structs.replace(INFO, endpoint=self.camera.endpoint)
        self.batcher = Batcher(mode, batch_size, 10**12, 10**6)
        self.publisher = PosePublisher(
            context,
            local_endpoint("poses"),
            session="s",
            streams=[info],
            bodyparts=("a", "b"),
            skeleton=(),
            scorer="x",
            keys=None,
        )
        self.receiver = Receiver(context, "s", [info], self.batcher, self.publisher, None)
        self.engine = ToldEngine()
        self.pipeline = Pipeline(
            GuardedEngine(self.engine, ("a", "b"), engine_guard("told")),
            self.batcher,
            self.receiver,
            self.publisher,
            {},
            FilterChain(filters),
        )
        self.reader = subscriber(
            context, [self.publisher.endpoint], ["pose/", "event/", "hello/"], queue_bytes=10**7, message_bytes=10**3
        )
        self.decoder = MessageDecoder()
        until(lambda: self.camera.new_subscriptions() or self.camera.subscriptions)
        until(self.heard)

    def heard(self) -> bool:
        """Greet, and say whether the reader heard it, and so hears what it subscribed to before."""
        self.publisher.greet()
        return bool(self.reader.poll(20))

    def send(self, *seqs: int, session: str = "s", width: int = 6) -> None:
        for seq in seqs:
            header = FrameHeader(
                session=session,
                camera="top",
                frame_seq=seq,
                device_id=None,
                device_time=None,
                captured_ns=monotonic_ns(),
                wall_ns=0,
                sent_ns=monotonic_ns(),
                height=4,
                width=width,
                pixel_format="gray8",
            )
            self.camera.send(encode_frame(header, np.full((4, width, 1), seq % 256, np.uint8)))

    def end(self, frames: int) -> None:
        event = Event(
            session="s", source="top", time_ns=0, wall_ns=0, level="info", name=END, text="", data={"frames": frames}
        )
        self.camera.send(encode_event(event))

    def fates(self) -> tuple[list[int], dict[str, list[int]]]:
        """Close the pipeline as the process does; frames that got a pose, and those that did not, by cause."""
        self.batcher.close(drain=False)
        self.pipeline.close()
        self.receiver.close()
        self.publisher.skipped(self.batcher.take_skipped())
        self.publisher.end()
        posed: list[int] = []
        skipped: dict[str, list[int]] = {}
        while True:
            assert self.reader.poll(5_000)
            match self.decoder.decode(self.reader.recv_multipart()):
                case Pose(header=header, keypoints=keypoints):
                    assert (keypoints[:, :2] == header.frame_seq % 256).all()
                    posed.append(header.frame_seq)
                case Event(name=name, data={"cause": str(cause), "first_seq": int(first), "last_seq": int(last)}) if (
                    name == SKIPPED
                ):
                    skipped.setdefault(cause, []).extend(range(first, last + 1))
                case Event(name=name) if name == END:
                    return posed, skipped

    def close(self) -> None:
        self.reader.close()
        self.camera.close()
        self.publisher.close()


@pytest.fixture
def rigs(context: zmq.Context) -> Iterator:
    made: list[Rig] = []

    def make(mode: Mode = "every-frame", batch_size: int = 4, **filters: Callable[[], PoseFilter]) -> Rig:
        made.append(Rig(context, mode, batch_size, filters))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def test_every_frame_comes_out_in_order_and_the_end_is_noticed(rigs) -> None:
    rig = rigs()
    rig.pipeline.start()
    rig.send(*range(100))
    rig.end(100)
    until(lambda: rig.pipeline.drained)
    assert rig.fates() == (list(range(100)), {})
    assert rig.pipeline.frames == sum(rig.engine.batches) == 100
    assert max(rig.engine.batches) <= 4


def test_a_busy_engine_gets_full_batches(rigs) -> None:
    rig = rigs(batch_size=8)
    rig.engine.go.clear()
    rig.pipeline.start()
    rig.send(*range(33))
    until(lambda: rig.receiver.received["top"] == 33)
    rig.engine.go.set()
    rig.end(33)
    until(lambda: rig.pipeline.drained)
    assert rig.engine.batches.count(8) >= 3
    assert rig.fates()[0] == list(range(33))


def test_freshest_takes_the_newest_when_the_engine_is_free(rigs) -> None:
    rig = rigs("freshest")
    rig.engine.go.clear()
    rig.pipeline.start()
    rig.send(0)
    until(lambda: rig.receiver.received["top"] == 1 and not rig.batcher.waiting)
    rig.send(*range(1, 10))
    until(lambda: rig.receiver.received["top"] == 10)
    rig.engine.go.set()
    rig.end(10)
    until(lambda: rig.pipeline.drained)
    assert rig.fates() == ([0, 9], {"fresher-frame": list(range(1, 9))})


def test_an_engine_that_fails_leaves_every_frame_explained(rigs) -> None:
    rig = rigs()
    rig.engine.fail_after = 3
    rig.pipeline.start()
    rig.send(*range(60))
    until(lambda: rig.receiver.received["top"] == 60 and rig.pipeline.error is not None)
    assert str(rig.pipeline.error) == 'engine "told" raised RuntimeError in run: the engine broke'
    posed, skipped = rig.fates()
    assert skipped["engine-error"]
    assert sorted([*posed, *(seq for run in skipped.values() for seq in run)]) == list(range(60))


def test_frames_that_never_arrive_are_lost_on_the_wire_with_their_numbers(rigs) -> None:
    rig = rigs()
    rig.pipeline.start()
    rig.send(0, 1, 5, 6)
    rig.end(9)
    until(lambda: rig.pipeline.drained)
    assert rig.fates() == ([0, 1, 5, 6], {"lost-on-wire": [2, 3, 4, 7, 8]})


def test_what_is_of_another_session_or_size_or_no_message_is_counted_and_dropped(rigs) -> None:
    rig = rigs()
    rig.pipeline.start()
    rig.send(0, session="other")
    rig.send(0, width=7)
    rig.camera.send([b"frame/top/", b"\xc1", b""])
    rig.send(0)
    rig.end(1)
    until(lambda: rig.pipeline.drained)
    assert rig.fates() == ([0], {})
    assert rig.receiver.foreign == {"session": 1, "stream": 1}
    assert rig.receiver.malformed == {"header": 1}


def test_frames_that_never_came_are_lost_on_the_wire_when_the_end_was_not_heard(rigs) -> None:
    rig = rigs()
    rig.send(0, 1)
    until(lambda: rig.receiver.received["top"] == 2)
    rig.receiver.close()
    rig.receiver.account({"top": 7, "side": 3})
    rig.receiver.account({"top": 7})
    _, skipped = rig.fates()
    assert skipped["lost-on-wire"] == [2, 3, 4, 5, 6]


def test_an_engine_that_is_slower_than_the_end_of_a_run_is_left_behind(rigs, monkeypatch) -> None:
    """As with frames of 8192x8192, of which one takes a minute."""
    monkeypatch.setattr("posestream.inference.live.pipeline.FINISH_S", 0.5)
    rig = rigs(batch_size=2)
    rig.pipeline.start()
    rig.engine.go.clear()
    rig.send(*range(7))
    until(lambda: rig.receiver.received["top"] == 7)
    posed, skipped = rig.fates()
    assert (posed, sorted(skipped.pop("stopped")), skipped) == ([], list(range(7)), {})
    assert rig.pipeline.error is None
    rig.engine.go.set()


def test_a_filter_that_holds_poses_back_delays_none_of_the_networks_own(rigs) -> None:
    rig = rigs(batch_size=1, behind=OneBehind, further=OneBehind)
    rig.pipeline.start()
    rig.send(*range(6))
    rig.end(6)
    until(lambda: rig.pipeline.drained)
    posed, skipped = rig.fates()
    assert posed == [0, 1, 2, 0, 3, 1, 4, 2, 5, 3, 4, 5]
    assert skipped == {}
    assert rig.publisher.published == {"top": 12}


def test_a_filter_that_fails_ends_the_run_and_costs_no_frame_its_pose(rigs) -> None:
    rig = rigs(behind=FailingFilter)
    rig.engine.go.clear()
    rig.pipeline.start()
    rig.send(*range(20))
    until(lambda: rig.receiver.received["top"] == 20)
    rig.engine.go.set()
    until(lambda: rig.pipeline.error is not None)
    assert str(rig.pipeline.error) == "the filter broke"
    posed, skipped = rig.fates()
    explained = [*posed, *(seq for run in skipped.values() for seq in run)]
    assert set(explained) == set(range(20))
    assert explained.count(4) == 2  # what was held back when the filter failed still goes out
