"""What every camera backend must do; a backend's tests subclass `CameraContract` and say how to make one."""

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posestream.acquisition.camera import (
    Camera,
    CameraError,
    CameraFormat,
    CameraSettings,
    Capture,
    EndOfStream,
    Pixels,
)
from posestream.stream.wire.clock import monotonic_ns


def buffer_for(camera_format: CameraFormat) -> Pixels:
    """A buffer full of a value, so that an untouched one is seen."""
    return np.full(camera_format.shape, 171, camera_format.dtype)


def read_frame(camera: Camera, out: Pixels, limit_s: float = 5.0) -> Capture:
    """Read until there is a frame."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if (capture := camera.read(out, 0.5)) is not None:
            return capture
    pytest.fail(f"no frame within {limit_s} s")


def read_all(camera: Camera, camera_format: CameraFormat, limit: int = 10_000) -> list[tuple[Capture, Pixels]]:
    """Read to the end of the stream."""
    frames = []
    for _ in range(limit):
        out = buffer_for(camera_format)
        try:
            frames.append((read_frame(camera, out), out))
        except EndOfStream:
            return frames
    pytest.fail(f"no end within {limit} frames")


def write_video(
    path: Path,
    count: int = 10,
    pts: Sequence[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Write a video of 25 frames/s, or of the given times in ms, whose pictures differ."""
    rng = np.random.default_rng(5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            picture = cv2.GaussianBlur(rng.integers(0, 255, (size[1], size[0], 3), np.uint8), (0, 0), 2)
            picture = cv2.normalize(picture, np.empty_like(picture), 0, 255, cv2.NORM_MINMAX)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), "rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = index * 40 if pts is None else pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class FakeTime:
    """A clock that moves only when someone sleeps on it."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += max(1, round(seconds * 1e9))


class CameraContract:
    """Contract tests; the subclass gives the fixture `make`: a camera with at least 5 frames, not yet opened."""

    @pytest.fixture
    def camera(self, make: Camera) -> Iterator[Camera]:
        yield make
        make.stop()

    def test_is_a_camera(self, camera: Camera) -> None:
        assert isinstance(camera, Camera)
        assert issubclass(camera.Settings, CameraSettings)

    def test_format_is_sound(self, camera: Camera) -> None:
        camera_format = camera.open()
        assert camera_format.height > 0
        assert camera_format.width > 0
        assert camera_format.rate_hz is None or camera_format.rate_hz > 0
        assert camera_format.tick_ns is None or camera_format.tick_ns > 0
        assert camera_format.description

    def test_fills_the_buffer(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        out = buffer_for(camera_format)
        for _ in range(5):
            out[:] = 171
            read_frame(camera, out)
            assert (out != 171).mean() > 0.5
            assert out.std() > 1
            assert out.max() < 2**camera_format.bits

    def test_frames_differ(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        first, second = buffer_for(camera_format), buffer_for(camera_format)
        read_frame(camera, first)
        read_frame(camera, second)
        assert (first != second).any()

    def test_times_and_numbers_rise(self, camera: Camera) -> None:
        camera_format = camera.open()
        before_ns = monotonic_ns()
        camera.start()
        out = buffer_for(camera_format)
        captures = [read_frame(camera, out) for _ in range(5)]
        stamps = [before_ns, *(capture.captured_ns for capture in captures), monotonic_ns()]
        assert stamps == sorted(stamps)
        for values in (
            [capture.device_id for capture in captures],
            [capture.device_time for capture in captures],
            [capture.presentation_ns for capture in captures],
        ):
            given = [value for value in values if value is not None]
            assert len(given) in (0, len(values)), "either every frame has it or none"
            assert all(later > earlier for earlier, later in pairwise(given))

    def test_truth_has_the_promised_keypoints(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        capture = read_frame(camera, buffer_for(camera_format))
        assert len(capture.truth or ()) == len(camera_format.truth_names)

    def test_device_time_comes_with_its_tick(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        capture = read_frame(camera, buffer_for(camera_format))
        assert capture.device_time is None or camera_format.tick_ns is not None

    def test_stop_is_safe_at_any_time(self, camera: Camera) -> None:
        camera.stop()
        camera_format = camera.open()
        camera.stop()
        camera.stop()
        with pytest.raises(CameraError):
            camera.read(buffer_for(camera_format), 0.1)

    def test_opens_again_after_stop(self, camera: Camera) -> None:
        for _ in range(2):
            camera_format = camera.open()
            camera.start()
            read_frame(camera, buffer_for(camera_format))
            camera.stop()

    def test_start_before_open_is_an_error(self, camera: Camera) -> None:
        with pytest.raises(CameraError, match="before"):
            camera.start()

    def test_read_before_start_is_an_error(self, camera: Camera) -> None:
        camera_format = camera.open()
        with pytest.raises(CameraError, match="before"):
            camera.read(buffer_for(camera_format), 0.1)
