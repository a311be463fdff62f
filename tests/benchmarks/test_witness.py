"""The witness and its judge: that they can find a fault, and a short form of `benchmarks/witness.py`."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.recorder import Recorder
from posestream.acquisition.stamps import FrameStamper
from posestream.stream.wire.settings import RecordingSettings

pytestmark = pytest.mark.timeout(240)
TRIALS = [
    ("mp4 320x240 at 200 Hz", "hangup"),
    ("slow encoder 320x240 at 200 Hz", "camera"),
    ("slow encoder 640x480 at 100 Hz, mkv", "closing: camera"),
    ("three cameras, mp4 and mkv, one slow", "all, then recover"),
    ("late ids", "itself"),
    ("suspended 120 ms, no clock, mkv", "itself"),
    ("captures 0.4 ms apart, mkv", "supervisor"),
    ("clock set back", "itself"),
    ("waits for a trigger", "itself"),
]


@pytest.mark.parametrize(("height", "width"), [(240, 320), (480, 640)])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_numbers_are_read_from_a_compressed_video(program, tmp_path, container, height, width) -> None:
    camera, judge = program("numbered_camera"), program("witness_judge")
    film(camera, tmp_path, RecordingSettings(container=container, queue_s=3600), (height, width), noise=63)
    pictures = judge.read_video(tmp_path / f"video.{container}")
    assert [(picture.number, picture.camera) for picture in pictures] == [(number, 7) for number in range(40)]


def test_a_picture_without_a_number_is_not_read(program) -> None:
    camera = program("numbered_camera")
    out = np.empty((240, 320, 1), np.uint8)
    camera.paint(out, 12_345, 3, np.zeros((240, 320), np.uint8))
    assert camera.read_picture(out[..., 0]) == (12_345, 3)
    out[:40, :40] = 255 - out[:40, :40]
    assert camera.read_picture(out[..., 0]) is None


LIES = {
    "no row": lambda rows: rows.pop(),
    "rows": lambda rows: rows.insert(9, rows[9]),
    "wrong row": lambda rows: swap(rows, "video_frame"),
    "state": lambda rows: rows[9].update(state="interrupted", video_frame=""),
    "times": lambda rows: swap(rows, "captured_ns"),
}


@pytest.mark.parametrize("kind", LIES)
def test_the_judge_finds_what_is_wrong(program, tmp_path, kind) -> None:
    camera, judge = program("numbered_camera"), program("witness_judge")
    log = film(camera, tmp_path, RecordingSettings(queue_s=3600), (240, 320), noise=5, judge=judge)
    assert judge.judge_camera(tmp_path, log, 7).faults == []
    rows = judge.read_rows(tmp_path / "frames.csv")
    LIES[kind](rows)
    with (tmp_path / "frames.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    assert kind in dict(judge.judge_camera(tmp_path, log, 7).faults)


def swap(rows: list[dict[str, str]], column: str) -> None:
    rows[9][column], rows[10][column] = rows[10][column], rows[9][column]


def film(
    camera: ModuleType,
    folder: Path,
    settings: RecordingSettings,
    shape: tuple[int, int],
    noise: int,
    judge: ModuleType | None = None,
) -> Any:
    """Record 40 numbered frames of camera 7; gives what its log would say."""
    form = CameraFormat(height=shape[0], width=shape[1], pixel_format="gray8", rate_hz=100.0)
    recorder, stamps = Recorder(folder, settings, form), FrameStamper(form)
    texture = np.random.default_rng(0).integers(0, noise + 1, shape, np.uint8)
    log: Any = judge.Log() if judge is not None else None
    for number in range(40):
        pixels = np.empty(form.shape, np.uint8)
        camera.paint(pixels, number, 7, texture)
        time_ns = 10_000_000 * (number + 1)
        recorder.put(stamps.stamp(Capture(captured_ns=time_ns, device_id=number), 0), pixels)
        if judge is not None:
            log.delivered.append(judge.Delivery(number, number, time_ns, None))
            log.numbered = number + 1
    recorder.close()
    assert recorder.error is None
    return log


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModuleType], dict[str, str]]:
    """Install the cameras once."""
    made: list[dict[str, str]] = []

    def once(witness: ModuleType) -> dict[str, str]:
        if not made:
            made.append(witness.install(tmp_path_factory.mktemp("plugin")))
        return made[0]

    return once


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGINT for another process")
@pytest.mark.parametrize(("name", "end"), [pytest.param(*trial, id=": ".join(trial)) for trial in TRIALS])
def test_every_frame_is_accounted_for(program, installed, tmp_path, name, end) -> None:
    witness = program("witness")
    [case] = [case for case in witness.CASES if case.name == name]
    assert end in case.ends
    row = witness.Trial(case, end, 1, tmp_path / "trial", installed(witness)).go()
    assert row["faults"] == []
    assert row["delivered"] > 50
