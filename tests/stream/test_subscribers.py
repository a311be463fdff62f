import asyncio
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import zmq

from posestream.stream.subscribers import FrameSubscriber, PoseSubscriber
from posestream.stream.wire.endpoints import EndpointError, local_endpoint
from posestream.stream.wire.messages import END, encode_event, encode_frame, encode_hello, encode_pose
from posestream.stream.wire.sockets import Publisher

from ..support.waiting import until
from .test_messages import EVENT, FRAME, HELLO, KEYPOINTS, PIXELS, POSE
from .test_sockets import wait_for_reader

END_OF_POSES = msgspec.structs.replace(EVENT, name=END, source="inference")


class Stream:
    def __init__(self, context: zmq.Context, kind: str = "pose") -> None:
        self.kind = kind
        self.publisher = Publisher(context, local_endpoint("poses"), queue_bytes=2**22, message_bytes=2**10)
        self.endpoint = self.publisher.endpoint

    def send(self, *seqs: int, camera: str = "top", session: str = "5e55") -> None:
        for seq in seqs:
            changes = {"camera": camera, "session": session}
            if self.kind == "pose":
                header = msgspec.structs.replace(POSE, pose_seq=seq, frame_seq=seq * 2, **changes)
                self.publisher.send(encode_pose(header, KEYPOINTS + seq))
            else:
                self.publisher.send(encode_frame(msgspec.structs.replace(FRAME, frame_seq=seq, **changes), PIXELS))

    def end(self) -> None:
        self.publisher.send(
            encode_event(END_OF_POSES if self.kind == "pose" else msgspec.structs.replace(EVENT, name=END))
        )


@pytest.fixture
def stream(context: zmq.Context):
    stream = Stream(context)
    yield stream
    stream.publisher.close()


def test_every_pose_comes_in_order_until_the_end(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, timeout_s=5, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        stream.publisher.send(encode_hello(HELLO))
        stream.send(*range(200))
        stream.end()
        received = list(poses)
        assert [pose.header.pose_seq for pose in received] == list(range(200))
        np.testing.assert_array_equal(received[9].keypoints, KEYPOINTS + 9)
        assert poses.hello == HELLO
        assert poses.ended
        assert poses.lost.total() == poses.passed_over == 0


def test_a_jump_is_counted_as_the_readers_own_loss_for_each_camera(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, timeout_s=5, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        stream.send(5, 6, 9)  # what came before the first that it saw is no loss of this reader
        stream.send(0, 3, camera="side")
        stream.send(0, session="next")
        stream.end()
        assert len(list(poses)) == 6
        assert poses.lost == {"top": 2, "side": 2}


def test_a_reader_that_is_too_slow_knows_how_much_it_lost(context) -> None:
    publisher = Publisher(context, local_endpoint("slow"), queue_bytes=20_000, message_bytes=1_000)
    stream = Stream.__new__(Stream)
    stream.kind, stream.publisher, stream.endpoint = "pose", publisher, publisher.endpoint
    with PoseSubscriber(stream.endpoint, timeout_s=2, queue_bytes=20_000, context=context) as poses:
        wait_for_reader(publisher, 3)
        stream.send(*range(5_000))
        with pytest.raises(TimeoutError):
            list(poses)
        received = poses.received
        stream.send(5_000)
        assert next(poses).header.pose_seq == 5_000
        assert received + 1 + poses.lost["top"] == 5_001
        assert poses.lost["top"] >= publisher.unsent > 0
    publisher.close()


def test_latest_passes_over_what_is_stale(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, mode="latest", timeout_s=5, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        sent, taken = 0, 0

        def burst() -> bool:
            """Send fifty, take what is the newest until it is the last, and say whether any was passed over."""
            nonlocal sent, taken
            stream.send(*range(sent, sent + 50))
            sent += 50
            while True:
                seq = next(poses).header.pose_seq
                taken += 1
                if seq == sent - 1:
                    return poses.passed_over > 0

        until(burst)
        assert taken + poses.passed_over == sent
        assert poses.lost.total() == 0


def test_latest_can_be_asked_at_any_time(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        assert poses.latest() is None
        stream.send(*range(5))
        until(lambda: (found := poses.latest()) is not None and found.header.pose_seq == 4)
        again = poses.latest()
        assert again is not None
        assert again.header.pose_seq == 4


def test_a_timeout_says_so_and_the_subscriber_lives_on(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, timeout_s=0.2, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        with pytest.raises(TimeoutError, match=r"no pose within 0\.2 s"):
            next(poses)
        stream.send(0)
        assert next(poses).header.pose_seq == 0


def test_one_camera_can_be_chosen_and_still_hears_the_end(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, camera="side", timeout_s=5, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        stream.send(0, 1, camera="top")
        stream.send(0, camera="side2")
        stream.send(0, camera="side")
        stream.end()
        assert [pose.header.camera for pose in poses] == ["side"]


def test_follow_goes_on_with_the_next_session(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, follow=True, timeout_s=1, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        stream.send(0)
        stream.end()
        stream.send(0, session="next")
        assert [next(poses).header.session, next(poses).header.session] == ["5e55", "next"]


def test_the_readmes_example_of_an_event_loop_runs(stream) -> None:
    """To the letter, but for the address."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"<!-- async -->\n```python\n(.*?)```", readme, re.DOTALL)
    code = code.replace("PoseSubscriber(", f"PoseSubscriber({stream.endpoint!r}, ")
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        wait_for_reader(stream.publisher, 3)
        stream.send(*range(3))
        stream.end()
        out, _ = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 0
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("top")] == [
        ["top", "0"],
        ["top", "2"],
        ["top", "4"],
    ]


def test_a_subscriber_closes_with_async_with(context, stream) -> None:
    async def collect() -> tuple[list[int], PoseSubscriber]:
        async with PoseSubscriber(stream.endpoint, timeout_s=5, context=context) as poses:
            await asyncio.to_thread(wait_for_reader, stream.publisher, 3)
            stream.send(*range(3))
            stream.end()
            return [pose.header.pose_seq async for pose in poses], poses

    seqs, poses = asyncio.run(collect())
    assert seqs == [0, 1, 2]
    assert list(poses) == []  # it is closed


def test_poses_can_be_awaited(context, stream) -> None:
    beats = 0

    async def collect(poses: PoseSubscriber) -> list[int]:
        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.001)

        beating = asyncio.create_task(beat())
        seqs = [pose.header.pose_seq async for pose in poses]
        beating.cancel()
        return seqs

    with PoseSubscriber(stream.endpoint, timeout_s=5, context=context) as poses:
        wait_for_reader(stream.publisher, 3)

        def beaten(times: int) -> bool:
            """Whether the event loop went on meanwhile, while it waits for a pose."""
            return beats >= times

        def publish() -> None:
            for seq in range(10):
                enough = beats + 2
                until(partial(beaten, enough))
                stream.send(seq)
            stream.end()

        sender = threading.Thread(target=publish)
        sender.start()
        assert asyncio.run(collect(poses)) == list(range(10))
        sender.join()


def test_closing_from_another_thread_ends_the_iteration(context, stream) -> None:
    poses = PoseSubscriber(stream.endpoint, context=context)
    closing = threading.Timer(0.2, poses.close)
    closing.start()
    assert list(poses) == []
    closing.join()


def test_damaged_messages_are_counted(context, stream) -> None:
    with PoseSubscriber(stream.endpoint, timeout_s=5, context=context) as poses:
        wait_for_reader(stream.publisher, 3)
        stream.publisher.send([b"pose/top/", b"\xc1"])
        stream.publisher.send([b"pose/top/"])
        stream.send(0)
        assert next(poses).header.pose_seq == 0
        assert poses.malformed == {"header": 1, "parts": 1}


def test_frames_arrive_whole(context) -> None:
    stream = Stream(context, "frame")
    with FrameSubscriber(stream.endpoint, timeout_s=5, context=context) as frames:
        wait_for_reader(stream.publisher, 3)
        stream.send(0, 1)
        stream.end()
        received = list(frames)
        assert [frame.header.frame_seq for frame in received] == [0, 1]
        np.testing.assert_array_equal(received[1].pixels, PIXELS)
    stream.publisher.close()


def test_wrong_use_is_refused_at_once(context) -> None:
    with pytest.raises(EndpointError, match="is no address"):
        PoseSubscriber("localhost", context=context)
    with pytest.raises(ValueError, match='"every" or "latest"'):
        PoseSubscriber(mode=cast("Any", "newest"), context=context)
