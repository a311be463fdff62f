"""Batches that are decoded ahead, and the poses of a whole video."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.engines.check import run_batches
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.offline.analysis import video_poses
from posestream.inference.offline.video_batches import SLOTS, VideoBatches
from posestream.inference.offline.video_reader import VideoReader
from posestream.inference.windows.framing import Framing, Region

from .test_video_reader import write


def pictures(number: int, shape: tuple[int, ...] = (4, 6, 1)) -> Iterator[tuple[int, np.ndarray]]:
    return ((index, np.full(shape, index % 256, np.uint8)) for index in range(number))


@pytest.mark.parametrize(("frames", "size"), [(0, 3), (1, 3), (3, 3), (50, 7)])
def test_every_frame_is_in_one_batch(frames: int, size: int) -> None:
    seen: list[int] = []
    with VideoBatches(pictures(frames), size) as batches:
        for numbers, pixels in batches:
            assert pixels[:, 0, 0, 0].tolist() == numbers
            assert len(numbers) == min(size, frames - len(seen))
            seen += numbers
    assert seen == list(range(frames))


def test_a_frame_of_another_shape_begins_a_batch() -> None:
    frames = [*pictures(5), *((5 + index, pixels) for index, pixels in pictures(3, (4, 6, 3)))]
    with VideoBatches(frames, 4) as batches:
        found = [(numbers, pixels.shape) for numbers, pixels in batches]
    assert found == [([0, 1, 2, 3], (4, 4, 6, 1)), ([4], (1, 4, 6, 1)), ([5, 6, 7], (3, 4, 6, 3))]


def test_the_decoder_waits_for_the_engine() -> None:
    taken = threading.Semaphore(0)

    def counted() -> Iterator[tuple[int, np.ndarray]]:
        for picture in pictures(1000):
            taken.release()
            yield picture

    with VideoBatches(counted(), 2) as batches:
        next(iter(batches))
        waiting = 0
        while taken.acquire(timeout=0.5):
            waiting += 1
    assert waiting <= 2 * SLOTS + 1


def test_what_ends_the_decoder_is_raised_behind_the_last_batch() -> None:
    def broken() -> Iterator[tuple[int, np.ndarray]]:
        yield from pictures(3)
        raise ValueError("broken")

    seen: list[int] = []

    def take() -> None:
        with VideoBatches(broken(), 3) as batches:
            for numbers, _ in batches:
                seen.extend(numbers)

    with pytest.raises(ValueError, match="broken"):
        take()
    assert seen == [0, 1, 2]


@pytest.fixture(scope="module")
def engine(bundle) -> TensorFlowEngine:
    return TensorFlowEngine(bundle)


@pytest.fixture
def video(tmp_path: Path, rng: np.random.Generator) -> Path:
    frames = rng.integers(0, 256, (10, 8, 10, 1), np.uint8).repeat(8, 1).repeat(8, 2).repeat(3, 3)
    return write(tmp_path / "video.mp4", list(frames), "yuv420p")


def pixels_of(video: Path) -> np.ndarray:
    with VideoReader(video) as reader:
        return np.stack([pixels.copy() for _, pixels in reader.frames()])


def test_the_poses_are_those_of_the_frames(engine, video: Path) -> None:
    expected, _ = run_batches(engine, pixels_of(video), "gray8", 4)
    with VideoReader(video) as reader, closing(video_poses(engine, reader, 4)) as poses:
        found = list(poses)
    assert [len(batch) for batch in found] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    with VideoReader(video) as reader, closing(video_poses(engine, reader, 4, first=8)) as poses:
        np.testing.assert_array_equal(np.concatenate(list(poses)), expected[8:])


def test_poses_of_a_region_are_in_pixels_of_the_video(engine, video: Path) -> None:
    cut = np.ascontiguousarray(pixels_of(video)[:, 16:48, 8:72])
    expected, _ = run_batches(engine, cut, "gray8", 4)
    framing = Framing(Region(8, 16, 64, 32))
    with VideoReader(video) as reader, closing(video_poses(engine, reader, 4, framing)) as poses:
        found = np.concatenate(list(poses))
    np.testing.assert_array_equal(found, expected + np.array([8, 16, 0]))


def test_a_reader_that_stops_early_leaves_no_thread(engine, video: Path) -> None:
    with VideoReader(video) as reader, closing(video_poses(engine, reader, 2)) as poses:
        next(poses)
    assert not any(thread.name == "decoder" for thread in threading.enumerate())
