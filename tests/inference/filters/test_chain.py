"""The chain of filters: what is held back, added and flushed, camera by camera."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from posestream.inference.filters.chain import FilterChain, PoseFilter
from posestream.inference.pose import FramePose
from posestream.stream.wire.messages import FrameHeader


class MedianOfThree:
    """Gives a pose when the next has come: the median of it and its neighbours."""

    def __init__(self) -> None:
        self._held: list[FramePose] = []

    def push(self, pose: FramePose) -> Iterable[FramePose]:
        self._held = [*self._held[-2:], pose]
        if len(self._held) > 1:
            yield self._median(self._held[-2])

    def flush(self) -> Iterable[FramePose]:
        if self._held:
            self._held = self._held[-2:]
            yield self._median(self._held[-1])

    def _median(self, pose: FramePose) -> FramePose:
        near = np.stack([held.keypoints for held in self._held])
        return replace(pose, keypoints=np.median(near, axis=0).astype(np.float32))


class FrameBetween:
    """Gives a pose half way between two frames, too, however far they are apart."""

    def __init__(self) -> None:
        self._last: FramePose | None = None

    def push(self, pose: FramePose) -> Iterable[FramePose]:
        last, self._last = self._last, pose
        if last is not None:
            between = (last.keypoints + pose.keypoints) / np.float32(2)
            yield replace(pose, keypoints=between.astype(np.float32))
        yield pose

    def flush(self) -> Iterable[FramePose]:
        return ()


def pose(frame_seq: int, x: float, camera: str = "top") -> FramePose:
    frame = FrameHeader(
        session="s",
        camera=camera,
        frame_seq=frame_seq,
        device_id=None,
        device_time=None,
        captured_ns=frame_seq * 10_000_000,
        wall_ns=0,
        sent_ns=0,
        height=4,
        width=6,
        pixel_format="gray8",
    )
    keypoints = np.array([[x, 0, 1]], np.float32)
    return FramePose(frame=frame, keypoints=keypoints, received_ns=0, batched_ns=0, inferred_ns=0, batch_size=1)


def run(filters: dict[str, Callable[[], PoseFilter]], *poses: FramePose) -> list[list[tuple[str, int, float]]]:
    """What comes out after each pose and, last, when the chain is flushed."""
    chain = FilterChain(filters)
    given = [*(list(chain.push(one)) for one in poses), list(chain.flush())]
    assert {out.filters for outs in given for out in outs} <= {tuple(filters)}
    return [[(out.frame.camera, out.frame.frame_seq, float(out.keypoints[0, 0])) for out in outs] for outs in given]


def test_without_filters_nothing_is_added_to_the_networks_own() -> None:
    assert run({}, pose(0, 1.0), pose(1, 2.0)) == [[], [], []]


def test_a_filter_may_hold_poses_back_until_the_next_or_the_end() -> None:
    given = run({"median": MedianOfThree}, pose(0, 1), pose(1, 50), pose(2, 3), pose(7, 4))
    assert given == [[], [("top", 0, 25.5)], [("top", 1, 3)], [("top", 2, 4)], [("top", 7, 3.5)]]


def test_each_camera_has_a_filter_of_its_own() -> None:
    given = run({"median": MedianOfThree}, pose(0, 1), pose(0, 100, "side"), pose(1, 1), pose(1, 100, "side"))
    assert given == [[], [], [("top", 0, 1)], [("side", 0, 100)], [("top", 1, 1), ("side", 1, 100)]]


def test_what_one_filter_adds_or_holds_back_goes_through_those_behind_it() -> None:
    given = run({"between": FrameBetween, "median": MedianOfThree}, pose(0, 0), pose(1, 2), pose(2, 90))
    # the median sees 0, 1, 2, 46, 90
    assert [[x for *_, x in outs] for outs in given] == [[], [0.5, 1], [2, 46], [68]]
    given = run({"median": MedianOfThree, "between": FrameBetween}, pose(0, 0), pose(1, 2), pose(2, 4))
    assert [[x for *_, x in outs] for outs in given] == [[], [1], [1.5, 2], [2.5, 3]]
