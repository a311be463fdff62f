"""What every camera backend must do, as tests: a lab's own backend is held to it as ours are.

In a test file of one's own, with `posestream[test]` installed:

    class TestMyCamera(CameraContract):
        @pytest.fixture
        def make(self):
            return MyCamera(MyCamera.Settings(rate_hz=50.0))

The camera must give at least 5 frames after each start, not all of one value and no two alike.
"""

import time
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from posestream.acquisition.camera import (
    Camera,
    CameraError,
    CameraFormat,
    CameraSettings,
    Capture,
    FoundCamera,
    Pixels,
)
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import CHANNELS

__all__ = ["CameraContract", "buffer_for", "read_frame"]

UNTOUCHED = 171


def buffer_for(camera_format: CameraFormat) -> Pixels:
    """Make a buffer full of a value, so that an untouched one is seen."""
    return np.full(camera_format.shape, UNTOUCHED, camera_format.dtype)


def read_frame(camera: Camera, out: Pixels, limit_s: float = 5.0) -> Capture:
    """Read until there is a frame."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if (capture := camera.read(out, 0.5)) is not None:
            return capture
    pytest.fail(f"no frame within {limit_s} s")


class CameraContract:
    """Contract tests; the subclass gives the fixture `make`: a camera, not yet opened."""

    late_s = 2.0
    """How much later than asked a read may end, seconds: for a busy computer, not for a camera that waits on."""

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
        assert camera_format.pixel_format in CHANNELS
        assert 8 <= camera_format.bits <= 16
        if camera_format.levels is not None:
            black, white = camera_format.levels
            assert 0 <= black < white < 2**camera_format.bits
        assert min(camera_format.origin) >= 0
        assert min(camera_format.binning) >= 1
        assert all(isinstance(value, bool | int | float | str) for value in camera_format.settings.values())
        assert all(isinstance(warning, str) and warning for warning in camera_format.warnings)
        msgspec.json.encode(camera_format)

    def test_unknown_settings_are_refused(self, camera: Camera) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"no_such_setting": 1}, camera.Settings)

    def test_what_it_finds_can_be_chosen(self, camera: Camera) -> None:
        for found in getattr(camera, "find", list)():
            assert isinstance(found, FoundCamera)
            assert found.description
            assert found.serial
            known = {field.name for field in msgspec.structs.fields(camera.Settings)}
            assert set(found.options) <= known

    def test_fills_the_buffer(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        out = buffer_for(camera_format)
        for _ in range(5):
            out[:] = UNTOUCHED
            read_frame(camera, out)
            assert (out != UNTOUCHED).mean() > 0.5
            assert out.std() > 1
            assert out.max() < 2**camera_format.bits

    def test_a_frame_is_left_alone_once_it_was_given(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        first = buffer_for(camera_format)
        read_frame(camera, first)
        kept = first.copy()
        for _ in range(3):
            read_frame(camera, buffer_for(camera_format))
        assert (first == kept).all()

    def test_a_read_ends_in_its_time(self, camera: Camera) -> None:
        camera_format = camera.open()
        camera.start()
        out = buffer_for(camera_format)
        captures = []
        for _ in range(3):
            before = time.monotonic()
            captures.append(camera.read(out, 0.01))
            assert time.monotonic() - before < 0.01 + self.late_s
        assert all(capture is None or isinstance(capture, Capture) for capture in captures)

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
        shapes = set()
        for _ in range(2):
            camera_format = camera.open()
            shapes.add(camera_format.shape)
            camera.start()
            read_frame(camera, buffer_for(camera_format))
            camera.stop()
        assert len(shapes) == 1

    def test_start_after_stop_is_an_error(self, camera: Camera) -> None:
        camera.open()
        camera.start()
        camera.stop()
        with pytest.raises(CameraError, match="before"):
            camera.start()

    def test_start_before_open_is_an_error(self, camera: Camera) -> None:
        with pytest.raises(CameraError, match="before"):
            camera.start()

    def test_read_before_start_is_an_error(self, camera: Camera) -> None:
        camera_format = camera.open()
        with pytest.raises(CameraError, match="before"):
            camera.read(buffer_for(camera_format), 0.1)
