from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from posestream.acquisition.backends.file import FileCamera, FileSettings
from posestream.acquisition.camera import CameraError, CameraFormat, Capture, EndOfStream

from ...support.videos import hold_sideways
from ..camera_contract import FakeTime, buffer_for, read_all, read_frame, write_video

IRREGULAR_MS = [0, 40, 80, 200, 230, 300]


def _started(time: FakeTime, path: Path, **options: Any) -> tuple[FileCamera, CameraFormat]:
    camera = FileCamera(FileSettings(path=path, **options), time.clock, time.sleep)
    camera_format = camera.open()
    camera.start()
    return camera, camera_format


def _play(time: FakeTime, path: Path, **options: Any) -> list[Capture]:
    camera, camera_format = _started(time, path, **options)
    captures = [capture for capture, _ in read_all(camera, camera_format)]
    camera.stop()
    return captures


def test_native_pace_is_that_of_the_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 6, IRREGULAR_MS)
    time = FakeTime()
    start_ns = time.now_ns
    captures = _play(time, path)
    assert [(capture.captured_ns - start_ns) // 1_000_000 for capture in captures] == IRREGULAR_MS
    assert [(capture.presentation_ns or 0) // 1_000_000 for capture in captures] == IRREGULAR_MS
    assert [capture.device_time for capture in captures] == IRREGULAR_MS
    assert [capture.device_id for capture in captures] == list(range(6))


@pytest.mark.parametrize("pace", [200, 200.0])
def test_given_rate_replaces_the_times(pace: float, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 6, IRREGULAR_MS)
    time = FakeTime()
    start_ns = time.now_ns
    captures = _play(time, path, pace=pace)
    assert [capture.captured_ns - start_ns for capture in captures] == [5_000_000 * k for k in range(6)]
    assert [capture.presentation_ns for capture in captures] == [5_000_000 * k for k in range(6)]


def test_inference_pace_does_not_wait(tmp_path: Path) -> None:
    time = FakeTime()
    camera, camera_format = _started(time, write_video(tmp_path / "a.mp4"), pace="inference")
    assert camera_format.waits_for_inference
    before_ns = time.now_ns
    assert len(read_all(camera, camera_format)) == 10
    assert time.now_ns == before_ns


def test_a_late_reader_gets_every_frame_late(tmp_path: Path) -> None:
    time = FakeTime()
    camera, camera_format = _started(time, write_video(tmp_path / "a.mp4"))
    out = buffer_for(camera_format)
    read_frame(camera, out)
    time.now_ns += 200_000_000
    late_ns = time.now_ns
    captures = [capture for capture, _ in read_all(camera, camera_format)]
    assert [capture.device_id for capture in captures] == list(range(1, 10))
    assert [capture.captured_ns for capture in captures[:4]] == [late_ns] * 4
    assert captures[-1].captured_ns == late_ns + 160_000_000


def test_not_due_is_none_after_the_timeout(tmp_path: Path) -> None:
    time = FakeTime()
    camera, camera_format = _started(time, write_video(tmp_path / "a.mp4"))
    out = buffer_for(camera_format)
    read_frame(camera, out)
    out[:] = 171
    assert camera.read(out, 0.01) is None
    assert (out == 171).all()
    assert camera.read(out, 0.1) is not None


def test_loop_goes_on_counting(tmp_path: Path) -> None:
    captures = _play(FakeTime(), write_video(tmp_path / "a.mp4", 4), loop=True, frames=10)
    assert [capture.device_id for capture in captures] == list(range(10))
    assert [capture.presentation_ns for capture in captures] == [40_000_000 * k for k in range(10)]
    ticks = [capture.device_time or 0 for capture in captures]
    assert len(set(np.diff(ticks))) == 1


def test_start_and_frames_choose_a_part(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    whole, part = _started(FakeTime(), path), _started(FakeTime(), path, start=3, frames=4)
    frames, chosen = read_all(*whole), read_all(*part)
    assert [capture.device_id for capture, _ in chosen] == [3, 4, 5, 6]
    assert chosen[0][0].presentation_ns == 0
    assert (chosen[0][1] == frames[3][1]).all()


def test_grey_video_is_read_as_grey(tmp_path: Path) -> None:
    camera, camera_format = _started(FakeTime(), write_video(tmp_path / "a.mkv", codec="ffv1", pixel_format="gray"))
    assert camera_format.pixel_format == "gray8"
    out = buffer_for(camera_format)
    read_frame(camera, out)
    assert out.std() > 10
    assert _started(FakeTime(), write_video(tmp_path / "b.mp4"))[1].pixel_format == "rgb24"


def _opencv_frames(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (taken := capture.read())[0]:
        frames.append(np.asarray(taken[1]))
    return frames


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "gray", "yuvj420p"])
def test_pixels_are_those_of_opencv(pixel_format: str, tmp_path: Path) -> None:
    codec = "mjpeg" if pixel_format == "yuvj420p" else "libx264"
    path = write_video(tmp_path / "a.mkv", codec=codec, pixel_format=pixel_format, size=(162, 122))
    ours = read_all(*_started(FakeTime(), path, pixel_format="rgb24"))
    theirs = _opencv_frames(path)
    assert len(ours) == len(theirs) == 10
    for (_, mine), other in zip(ours, theirs, strict=True):
        assert (mine[:, :, ::-1] == other).all()


def test_pixels_of_a_real_recording_are_those_of_opencv(openfield_clip: Path) -> None:
    camera, camera_format = _started(FakeTime(), openfield_clip, pixel_format="rgb24", pace="inference")
    reference, out = cv2.VideoCapture(str(openfield_clip)), buffer_for(camera_format)
    for _ in range(100):
        read_frame(camera, out)
        assert (out[:, :, ::-1] == reference.read()[1]).all()


def test_a_video_that_was_held_sideways_is_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", size=(162, 122))
    lying = read_all(*_started(FakeTime(), path, pixel_format="gray8"))
    hold_sideways(path)
    colour, grey = (_started(FakeTime(), path, pixel_format=name) for name in ("rgb24", "gray8"))
    assert (colour[1].shape, grey[1].shape) == ((162, 122, 3), (162, 122, 1))
    theirs, upright = _opencv_frames(path), read_all(*colour)
    assert len(upright) == len(theirs) == 10
    for (_, mine), other in zip(upright, theirs, strict=True):
        assert (mine[:, :, ::-1] == other).all()
    for (_, mine), (_, before) in zip(read_all(*grey), lying, strict=True):
        assert (mine == np.rot90(before, -1)).all()


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    absent, empty, text, cut = (tmp_path / name for name in ("absent.mp4", "empty.mp4", "text.mp4", "cut.mp4"))
    empty.touch()
    text.write_text("not a video " * 100)
    cut.write_bytes(write_video(tmp_path / "whole.mp4").read_bytes()[:1500])
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    for path, word in (
        (absent, "no such file"),
        (empty, "empty"),
        (text, "not a video"),
        (cut, "damaged"),
        (sound, "only audio"),
        (tmp_path, "not a file"),
    ):
        with pytest.raises(CameraError, match=word) as error:
            FileCamera(FileSettings(path=path)).open()
        assert str(path) in str(error.value)


def test_start_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="ends before"):
        FileCamera(FileSettings(path=write_video(tmp_path / "a.mp4"), start=50)).open()


def test_damage_in_the_middle_names_the_frame(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", 20, size=(162, 122))
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    camera, camera_format = _started(FakeTime(), damaged)
    with pytest.raises(CameraError, match=r"damaged\.mp4: frame \d+ "):
        read_all(camera, camera_format)


def test_the_end_stays_the_end(tmp_path: Path) -> None:
    camera, camera_format = _started(FakeTime(), write_video(tmp_path / "a.mp4", 2))
    read_all(camera, camera_format)
    with pytest.raises(EndOfStream):
        camera.read(buffer_for(camera_format), 0.1)
