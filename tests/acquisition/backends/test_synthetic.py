from typing import Any

import numpy as np
import pytest

from posestream.acquisition.backends.synthetic import SyntheticCamera, SyntheticSettings
from posestream.acquisition.camera import CameraError, Capture, EndOfStream

from ..camera_contract import FakeTime, buffer_for, read_all

SMALL: dict[str, Any] = {"width": 80, "height": 60, "rate_hz": 100.0}

BUFFERS = SyntheticSettings().buffers


def _opened(time: FakeTime, **options: Any) -> SyntheticCamera:
    camera = SyntheticCamera(SyntheticSettings(**(SMALL | options)), time.clock, time.sleep)
    camera.open()
    camera.start()
    return camera


def _ids(time: FakeTime, **options: Any) -> list[int | None]:
    camera = SyntheticCamera(SyntheticSettings(**(SMALL | options)), time.clock, time.sleep)
    camera_format = camera.open()
    camera.start()
    return [capture.device_id for capture, _ in read_all(camera, camera_format)]


def _read(camera: SyntheticCamera, timeout_s: float = 1.0) -> Capture:
    capture = camera.read(np.empty((60, 80, 1), np.uint8), timeout_s)
    assert capture is not None
    return capture


def test_frames_are_due_at_their_rate() -> None:
    time = FakeTime()
    camera = _opened(time)
    start_ns = time.now_ns
    for index in range(5):
        capture = _read(camera)
        assert capture.captured_ns == start_ns + index * 10_000_000
        assert capture.device_time == index * 10_000_000
        assert time.now_ns == capture.captured_ns


def test_not_due_is_none_after_the_timeout() -> None:
    time = FakeTime()
    camera = _opened(time)
    _read(camera)
    before_ns = time.now_ns
    assert camera.read(np.empty((60, 80, 1), np.uint8), 0.004) is None
    assert time.now_ns - before_ns == 4_000_000
    assert _read(camera).device_id == 1


def test_a_late_reader_loses_the_oldest_frames() -> None:
    time = FakeTime()
    camera = _opened(time)
    _read(camera)
    time.now_ns += 300_000_000  # frames 0 to 30 are exposed
    ids = [_read(camera).device_id for _ in range(BUFFERS + 1)]
    assert ids == list(range(31 - BUFFERS, 32))


def test_a_little_late_loses_nothing() -> None:
    time = FakeTime()
    camera = _opened(time)
    ids = []
    for _ in range(5):
        ids.append(_read(camera).device_id)
        time.now_ns += 15_000_000
    assert ids == [0, 1, 2, 3, 4]


def test_the_captured_time_of_a_late_frame_is_its_exposure() -> None:
    time = FakeTime()
    camera = _opened(time)
    start_ns = time.now_ns
    _read(camera)
    time.now_ns += 50_000_000
    assert _read(camera).captured_ns == start_ns + 10_000_000


def test_ends_after_the_given_frames() -> None:
    assert _ids(FakeTime(), frames=7) == list(range(7))


def test_ends_though_nobody_reads() -> None:
    time = FakeTime()
    camera = _opened(time, frames=20)
    time.now_ns += 10_000_000_000
    assert [_read(camera).device_id for _ in range(BUFFERS)] == list(range(12, 20))
    with pytest.raises(EndOfStream):
        _read(camera)


def test_drops_show_in_the_numbers() -> None:
    ids = _ids(FakeTime(), frames=300, drop=0.2)
    assert 30 < 300 - len(ids) < 90
    assert ids == _ids(FakeTime(), frames=300, drop=0.2), "the same seed drops the same frames"


def test_a_camera_that_drops_all_gives_none() -> None:
    time = FakeTime()
    camera = _opened(time, drop=1.0)
    assert camera.read(np.empty((60, 80, 1), np.uint8), 0.1) is None
    assert _ids(FakeTime(), drop=1.0, frames=5) == []


def test_jitter_delays_delivery_but_not_the_exposure() -> None:
    time = FakeTime()
    camera = _opened(time, jitter_ms=8.0)
    start_ns, delays = time.now_ns, []
    for index in range(30):
        capture = _read(camera)
        assert capture.device_time == index * 10_000_000
        assert capture.captured_ns == time.now_ns
        delays.append(time.now_ns - start_ns - capture.device_time)
    assert 0 <= min(delays) < 3_000_000
    assert 5_000_000 < max(delays) <= 8_000_000


def test_the_devices_clock_may_be_fast() -> None:
    time = FakeTime()
    camera = _opened(time, skew_ppm=100.0)
    assert [_read(camera).device_time for _ in range(3)] == [0, 10_001_000, 20_002_000]


def test_numbers_wrap_where_it_is_said() -> None:
    assert _ids(FakeTime(), frames=7, device_ids=(1, 3)) == [1, 2, 3, 1, 2, 3, 1]
    with pytest.raises(CameraError, match="no range"):
        _opened(FakeTime(), device_ids=(3, 3))


def test_unplugged_it_is_lost_and_comes_back_counting_anew() -> None:
    time = FakeTime()
    camera = _opened(time, unplug=(3, 2.0))
    assert [_read(camera).device_id for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CameraError, match="was unplugged"):
        _read(camera)
    camera.stop()
    time.now_ns += 1_900_000_000
    with pytest.raises(CameraError, match="is unplugged"):
        camera.open()
    time.now_ns += 100_000_000
    camera.open()
    camera.start()
    assert [_read(camera).device_id for _ in range(6)] == list(range(6))


def test_a_stall_holds_frames_back_and_loses_some() -> None:
    time = FakeTime()
    camera = _opened(time, stall=(0.1, 0.5), frames=100)
    start_ns, times = time.now_ns, {}
    ids: list[int | None] = []
    while len(ids) < 10 + 39 + BUFFERS:
        capture = camera.read(np.empty((60, 80, 1), np.uint8), 0.05)
        if capture is not None:
            ids.append(capture.device_id)
            times[capture.device_id] = time.now_ns - start_ns
    assert ids == [*range(10), *range(61 - BUFFERS, 100)]
    assert times[61 - BUFFERS] == 600_000_000


def test_the_frame_and_its_truth_belong_together() -> None:
    """What is read after losses is the same picture as without them."""
    whole, late = FakeTime(), FakeTime()
    one, two = _opened(whole), _opened(late)
    pictures = {}
    for _ in range(40):
        out = np.empty((60, 80, 1), np.uint8)
        capture = one.read(out, 1.0)
        assert capture is not None
        pictures[capture.device_id] = (out, capture.truth)
    late.now_ns += 300_000_000
    out = np.empty((60, 80, 1), np.uint8)
    capture = two.read(out, 1.0)
    assert capture is not None
    assert capture.device_id == 23
    assert capture.truth == pictures[23][1]
    assert (out == pictures[23][0]).all()


def test_colour_frames_come_in_the_order_that_was_asked_for() -> None:
    frames = {}
    orders: list[Any] = ["rgb24", "bgr24"]
    for order in orders:
        camera = SyntheticCamera(SyntheticSettings(pixel_format=order, **SMALL))
        frames[order] = buffer_for(camera.open())
        camera.start()
        camera.read(frames[order], 1.0)
    assert (frames["rgb24"] == frames["bgr24"][..., ::-1]).all()
    red, _, blue = frames["rgb24"][20:40, 20:60].reshape(-1, 3).mean(axis=0)
    assert red > blue + 5, "the paper is yellowish"
