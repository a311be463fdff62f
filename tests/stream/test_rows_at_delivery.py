"""A recorder in a process of its own is killed, its encoder behind or not: what is left tells of each frame."""

import json
import subprocess
import sys
from pathlib import Path

import av
import pandas as pd
import pytest

from posestream.stream.disk.tables import FRAME_COLUMNS, PACKET_COLUMNS
from posestream.stream.session.check_frames import check_device_ids, rows_in_device_order
from posestream.stream.session.lost import lost_frames
from posestream.stream.session.pose_states import write_pose_states
from posestream.stream.session.reconcile import reconcile_camera
from posestream.stream.session.tables import read_frames
from posestream.stream.session.verify import verify_session

pytestmark = pytest.mark.timeout(180)

SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.recorder import Recorder
from posestream.acquisition.stamps import FrameStamper
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.settings import RecordingSettings

camera = CameraFormat(height=480, width=640, pixel_format="gray8", rate_hz=200.0)
settings = RecordingSettings(container=sys.argv[2], preset=sys.argv[3], queue_s=float(sys.argv[4]))
recorder, stamps = Recorder(Path(sys.argv[1]), settings, camera), FrameStamper(camera)
noise = np.random.default_rng(0).integers(0, 256, (4, *camera.shape), np.uint8)
device_id = 0
for seq in range(100_000):
    pixels = noise[seq % 4].copy()
    for bit in range(16):
        pixels[:64, 40 * bit : 40 * bit + 40] = 255 * (seq >> bit & 1)
    device_id += 1 + (seq % 50 == 20)  # one is lost now and then, and two change places
    raw = device_id + (seq % 50 == 30) - (seq % 50 == 31)
    recorder.put(stamps.stamp(Capture(captured_ns=monotonic_ns(), device_id=raw), 0), pixels)
    while not recorder.await_row():
        pass
    print(seq, recorder.states.get("recorded", 0), flush=True)
    time.sleep(0.005)
"""


def film(folder: Path, container: str, preset: str, queue_s: float, frames: int) -> int:
    """Film until so many are in the video, and then kill it; gives the last frame that was delivered."""
    command = [sys.executable, "-c", SLOW, str(folder), container, preset, str(queue_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as camera:
        assert camera.stdout is not None
        for line in camera.stdout:
            if int(line.split()[1]) >= frames:
                break
        camera.kill()
        rest = [line for line in camera.stdout if line.endswith("\n")]
    return int((rest or [line])[-1].split()[0])


def painted(video: Path) -> list[int]:
    """Numbers that the frames of a video show."""
    with av.open(str(video)) as container:
        pictures = (frame.to_ndarray(format="gray") for frame in container.decode(video=0))
        return [sum((picture[32, 40 * bit + 20] > 127) << bit for bit in range(16)) for picture in pictures]


def problems_of(folder: Path, container: str) -> list[str]:
    """What `verify` finds wrong with the camera of a session that has no more than that."""
    record = {
        "format": 1,
        "id": "5e55",
        "state": "recovered",
        "rig": {"cameras": {"top": {"remote": False}}, "inference": None},
        "cameras": {
            "top": {
                "video": f"video.{container}",
                "stream": {
                    "camera": "top",
                    "endpoint": "ipc://top",
                    "height": 480,
                    "width": 640,
                    "pixel_format": "gray8",
                },
            }
        },
        "inference": None,
    }
    (folder / "session.json").write_text(json.dumps(record))
    return [problem for problem in verify_session(folder)["problems"] if problem.startswith("camera top: ")]


def close(folder: Path) -> None:
    """What is left to do for a session without poses."""
    write_pose_states(folder, ["none"] * len(read_frames(folder)))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(("preset", "queue_s"), [("slower", 0.3), ("ultrafast", 2.0)])
def test_every_frame_that_was_delivered_has_a_row_that_is_right_about_the_picture(
    tmp_path: Path, container: str, preset: str, queue_s: float
) -> None:
    folder, video = tmp_path / "top", tmp_path / "top" / f"video.{container}"
    folder.mkdir()
    last = film(folder, container, preset, queue_s, 100 if preset == "slower" else 300)
    rows = read_frames(folder)
    assert rows["seq"].dropna().tolist() == list(range(int(rows["seq"].max()) + 1))
    assert rows["seq"].max() >= last
    assert problems_of(tmp_path, container)  # nothing is proved of what is open
    reconcile_camera(folder, video.name, bodyparts=None)
    frames = read_frames(folder)
    assert frames["seq"].dropna().tolist() == rows["seq"].dropna().tolist()
    assert set(frames["state"]) <= {"recorded", "lost-queue", "lost-camera", "interrupted"}
    recorded = frames[frames["state"] == "recorded"]
    assert len(recorded) > 15
    assert painted(video) == recorded["seq"].tolist()
    assert recorded["crc32"].str.fullmatch("[0-9a-f]{8}").all()
    close(folder)
    assert problems_of(tmp_path, container) == []
    assert reconcile_camera(folder, video.name, bodyparts=None) == []


def test_frames_of_the_video_that_the_table_of_packets_does_not_know_are_found(tmp_path: Path) -> None:
    """As when the power fails: each file ends at a place of its own."""
    folder = tmp_path / "top"
    folder.mkdir()
    film(folder, "mp4", "ultrafast", 2.0, 200)
    shown = painted(folder / "video.mp4")
    packets = (folder / "packets.csv").read_bytes().splitlines(keepends=True)
    (folder / "packets.csv").write_bytes(b"".join(packets[:60]) + packets[60][:4])
    done = reconcile_camera(folder, "video.mp4", bodyparts=None)
    assert "frames that were delivered are in the video" in " ".join(done)
    frames = read_frames(folder)
    assert frames.loc[frames["state"] == "recorded", "seq"].tolist() == shown
    close(folder)
    assert problems_of(tmp_path, "mp4") == []


LATE = "device id came late, after 121"


def table(*rows: tuple[int | None, str, str]) -> pd.DataFrame:
    frames = pd.DataFrame(rows, columns=["device_id", "note", "state"])
    return frames.astype({"device_id": "Int64", "note": "string", "state": "string"})


@pytest.mark.parametrize(
    ("rows", "sound"),
    [
        ([(119, ""), (121, ""), (120, LATE), (122, "")], True),
        ([(119, ""), (121, ""), (122, "")], False),
        ([(118, ""), (121, ""), (120, LATE), (119, LATE), (122, "")], True),
        ([(118, ""), (121, ""), (120, LATE), (122, "")], False),
        ([(118, ""), (None, "device id missing"), (121, ""), (120, LATE), (122, "")], True),
        ([(121, ""), (120, LATE), (122, "")], True),
        ([(5, ""), (121, "device id jumped from 5 to 121"), (120, LATE), (122, "")], True),
        ([(119, ""), (120, ""), (119, "device id repeats"), (121, "")], True),
        ([(119, ""), (120, ""), (119, "device id repeats"), (122, "")], False),
    ],
)
def test_a_late_frame_stands_for_its_number_and_for_no_other(rows, sound) -> None:
    frames = table(*((device_id, note, "recorded") for device_id, note in rows))
    assert (list(check_device_ids(frames)) == []) == sound


def test_sessions_with_two_rows_of_a_late_frame_are_read(tmp_path: Path) -> None:
    rows = [(119, "", "recorded"), (120, "", "lost-camera"), (121, "", "recorded"), (120, LATE, "recorded")]
    frames = table(*rows, (122, "", "recorded"))
    assert list(check_device_ids(frames)) == []
    assert rows_in_device_order(frames).tolist() == [0, 1, 2, 4]


def test_the_longest_gap_reaches_to_the_end_of_what_was_delivered() -> None:
    states = ["recorded"] * 10 + ["lost-camera"] + ["recorded"] * 5 + ["interrupted"] * 4
    times = [10_000_000 * number if state != "lost-camera" else None for number, state in enumerate(states)]
    frames = pd.DataFrame({"state": states, "captured_ns": pd.array(times, "Int64")})
    assert lost_frames(frames) == {"frames": 5, "seconds": 0.04, "longest_gap_s": 0.04}
    assert lost_frames(frames.iloc[:10]) == {"frames": 0, "seconds": 0.0, "longest_gap_s": 0.0}
    assert lost_frames(frames.iloc[:0])["frames"] == 0


@pytest.mark.parametrize("state", ["recorded", "delivered"])
def test_what_a_row_said_of_its_frame_stays_when_the_frame_is_not_in_the_video(tmp_path: Path, state: str) -> None:
    """That it came late, above all: its number is out of order."""
    frames, packets = tmp_path / "frames.csv", tmp_path / "packets.csv"
    ids = [(119, ""), (121, ""), (120, LATE), (122, "")]
    rows = [f'{seq},{number},,{seq},{seq},{seq},,,,delivered,"{note}",' for seq, (number, note) in enumerate(ids)]
    frames.write_text("\n".join([",".join(FRAME_COLUMNS), *rows, ""]))
    told = [f"{seq},{seq},{seq},0000000{seq},recorded," for seq in range(4)] if state == "recorded" else []
    packets.write_text("\n".join([",".join(PACKET_COLUMNS), *told, ""]))
    reconcile_camera(tmp_path, "video.mp4", bodyparts=None)
    table = read_frames(tmp_path)
    assert table["state"].tolist() == ["interrupted"] * 4
    assert LATE in table["note"][2]
    assert list(check_device_ids(table)) == []
