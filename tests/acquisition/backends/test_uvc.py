import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posestream.acquisition.backends.uvc import UvcCamera, UvcSettings
from posestream.acquisition.backends.vocabulary import Trigger
from posestream.acquisition.camera import CameraError

from ..camera_contract import buffer_for, read_all, write_video

OPENS = """
import json, sys, time
from posestream.acquisition.camera import CameraError
from posestream.acquisition.backends.uvc import UvcCamera, UvcSettings
began = time.monotonic()
try:
    UvcCamera(UvcSettings(device=json.loads(sys.argv[1]))).open()
except CameraError as error:
    print(error, time.monotonic() - began, sep="\\n")
"""


def opened(device: int | str) -> tuple[str, float]:
    """Open what can't be, in a process in which OpenCV's FFmpeg is new; what it says, and seconds.

    FFmpeg reads once whether it may write to the terminal, and that is for the backend to say.
    """
    command = [sys.executable, "-c", OPENS, json.dumps(device)]
    ended = subprocess.run(command, capture_output=True, check=True, text=True, timeout=100)
    assert ended.stderr == ""
    error, seconds = ended.stdout.splitlines()
    return error, float(seconds)


@pytest.mark.parametrize("device", [97, "/dev/video97", "absent.mp4"])
def test_absent_camera_is_an_error_soon_and_quietly(device: int | str) -> None:
    error, seconds = opened(device)
    assert re.search(r"97|absent\.mp4", error)
    assert seconds < 5


def test_a_broken_source_is_quiet(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(write_video(tmp_path / "a.mp4").read_bytes()[:1500])
    error, _ = opened(str(broken))
    assert "no such camera" in error


def test_another_size_than_asked_is_an_error(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4")
    with pytest.raises(CameraError, match="32x48 pixels and gives 64x48"):
        UvcCamera(UvcSettings(device=str(video), width=32)).open()


def test_another_rate_than_asked_is_warned_about(tmp_path: Path) -> None:
    camera = UvcCamera(UvcSettings(device=str(write_video(tmp_path / "a.mp4")), rate_hz=100.0))
    camera_format = camera.open()
    camera.stop()
    assert camera_format.rate_hz == pytest.approx(25)
    assert camera_format.settings["rate_hz"] == pytest.approx(25)
    (warning,) = camera_format.warnings
    assert "rate_hz = 100 was asked, and it took 25" in warning


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gain_db": 3.0}, r"gain_db; .* it takes width, height"),
        ({"trigger": Trigger(source="Line1")}, "trigger"),
        ({"offset_x": 8}, "offset_x"),
        ({"binning": 2}, "binning"),
        ({"serial": "1"}, "serial"),
        ({"exposure_line": "Line2"}, "exposure_line"),
        ({"pixel_format": "Mono12"}, "Mono12.*bgr24, gray8"),
        ({"exposure_us": 5000.0}, "exposure_us by FFMPEG"),
        ({"white_balance": (1.0, 1.0, 1.0)}, 'white_balance.*"auto"'),
        ({"white_balance": "auto"}, "white_balance: .* CAP_PROP_AUTO_WB"),
        ({"nodes": {"GIAN": 1}}, "nodes.GIAN.*did you mean.*GAIN"),
        ({"nodes": {"gain": 1}}, "nodes.gain.*does not take CAP_PROP_GAIN"),
        ({"nodes": {"GAIN": "high"}}, "numbers"),
    ],
)
def test_what_it_cant_do_is_named(options: dict[str, Any], named: str, tmp_path: Path) -> None:
    camera = UvcCamera(UvcSettings(device=str(write_video(tmp_path / "a.mp4", 2)), **options))
    with pytest.raises(CameraError, match=named):
        camera.open()


def test_a_property_is_set_and_read_back(tmp_path: Path) -> None:
    camera = UvcCamera(UvcSettings(device=str(write_video(tmp_path / "a.mp4")), nodes={"CAP_PROP_POS_FRAMES": 4}))
    camera_format = camera.open()
    camera.start()
    assert camera_format.settings["CAP_PROP_POS_FRAMES"] == 4
    assert len(read_all(camera, camera_format)) == 6
    camera.stop()


@pytest.mark.parametrize("pixel_format", ["gray8", "bgr24"])
def test_frames_are_those_of_opencv_to_the_end(pixel_format: str, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4")
    camera = UvcCamera(UvcSettings(device=str(video), pixel_format=pixel_format))
    camera_format = camera.open()
    camera.start()
    frames = read_all(camera, camera_format)
    camera.stop()
    assert len(frames) == 10
    reference = cv2.VideoCapture(str(video))
    for _, frame in frames:
        expected = np.asarray(reference.read()[1])
        if pixel_format == "gray8":
            expected = np.asarray(cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY))[:, :, None]
        assert (frame == expected).all()


def test_a_camera_that_stops_giving_frames_is_lost(tmp_path: Path) -> None:
    camera = UvcCamera(UvcSettings(device=str(write_video(tmp_path / "a.mp4", 1))))
    camera_format = camera.open()
    camera.start()
    camera._is_file = False  # noqa: SLF001 - as for a device, which has no count of frames
    out = buffer_for(camera_format)
    camera.read(out, 0.1)
    with pytest.raises(CameraError, match="lost"):
        camera.read(out, 0.1)
    camera.stop()
