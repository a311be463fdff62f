import csv
import sys
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.encoder import VideoWriter
from posestream.acquisition.recorder import MAX_LOST_WAITING, Recorder
from posestream.acquisition.stamps import Stamped
from posestream.stream.wire.jobs import RecordingSettings

from ..support.waiting import until

GREY = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "frames.csv").read_text().splitlines()))


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def stamped(seq: int, captured_ns: int | None = None, lost: range = range(0), **capture) -> Stamped:
    time = seq * 10_000_000 if captured_ns is None else captured_ns
    return Stamped(
        seq=seq,
        capture=Capture(captured_ns=time, **capture),
        device_id=capture.get("device_id"),
        captured_ns=time,
        wall_ns=time,
        lost=lost,
        id_note="",
        note="",
    )


def put(recorder: Recorder, seq: int, *args, **named) -> bool:
    return recorder.put(stamped(seq, *args, **named), np.full(GREY.shape, seq % 256, np.uint8))


def test_every_frame_is_in_the_video_and_has_its_row(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), GREY)
    assert all(put(recorder, seq) for seq in range(300))
    recorder.close()
    rows = rows_of(tmp_path)
    assert recorder.error is None
    assert frames_in(tmp_path / "video.mp4") == len(rows) == 300
    assert [int(row["seq"]) for row in rows] == [int(row["video_frame"]) for row in rows] == list(range(300))
    assert [int(row["pts_us"]) for row in rows] == [seq * 10_000 for seq in range(300)]


def test_frames_are_recorded_while_a_slow_disk_takes_in_what_was_written(tmp_path: Path, monkeypatch) -> None:
    import os

    recorder, slow, sync = Recorder(tmp_path, RecordingSettings(), GREY), threading.Event(), os.fsync
    asked: list[str] = []

    def wait(number: int) -> None:
        asked.append(str(Path(f"/proc/self/fd/{number}").resolve().name))
        assert slow.wait(60)
        sync(number)

    monkeypatch.setattr(os, "fsync", wait)
    syncing = threading.Thread(target=recorder.sync)
    syncing.start()
    assert all(put(recorder, seq) for seq in range(100))
    until(lambda: len(rows_of(tmp_path)) == 100)
    assert syncing.is_alive()
    slow.set()
    syncing.join()
    recorder.close()
    assert recorder.error is None
    if sys.platform == "linux":
        assert asked[:2] == ["video.mp4", "frames.csv"]
    assert frames_in(tmp_path / "video.mp4") == 100


def test_frames_that_the_camera_lost_stand_in_their_place(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), GREY)
    put(recorder, 0, device_id=10)
    put(recorder, 1, lost=range(11, 14), device_id=14)
    recorder.close()
    assert [(row["device_id"], row["state"]) for row in rows_of(tmp_path)] == [
        ("10", "recorded"),
        *((str(device_id), "lost-camera") for device_id in (11, 12, 13)),
        ("14", "recorded"),
    ]


def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold encoders up until the event that it gives is set."""
    gate, write = threading.Event(), VideoWriter.write

    def wait(writer: VideoWriter, *given: Any) -> list[int]:
        assert gate.wait(60)
        return write(writer, *given)

    monkeypatch.setattr(VideoWriter, "write", wait)
    return gate


def test_a_full_queue_loses_the_new_frame_and_says_so(tmp_path: Path, monkeypatch) -> None:
    gate = held_up(monkeypatch)
    recorder = Recorder(tmp_path, RecordingSettings(queue_bytes=5 * 48 * 64), GREY)
    kept = [put(recorder, seq) for seq in range(50)]
    gate.set()
    recorder.close()
    rows = rows_of(tmp_path)
    assert 5 <= sum(kept) <= 6  # five that wait, and the one that the encoder holds
    assert [row["state"] for row in rows] == ["recorded" if each else "lost-queue" for each in kept]
    assert frames_in(tmp_path / "video.mp4") == sum(kept)
    assert recorder.states == {"recorded": sum(kept), "lost-queue": 50 - sum(kept)}
    assert recorder.longest_queue_bytes <= 5 * 48 * 64


def test_an_encoder_that_stands_still_is_given_up_before_the_rows_fill_the_memory(tmp_path: Path, monkeypatch) -> None:
    gate = held_up(monkeypatch)
    recorder = Recorder(tmp_path, RecordingSettings(queue_bytes=48 * 64), GREY)
    frame, pixels = stamped(1), np.zeros(GREY.shape, np.uint8)
    put(recorder, 0)
    for _ in range(MAX_LOST_WAITING + 10):
        recorder.put(frame, pixels)
    assert recorder.error is not None
    assert "stands still" in recorder.error
    assert recorder.unwritten > 0
    assert recorder.waiting <= MAX_LOST_WAITING + 1
    gate.set()
    recorder.close()


def test_times_that_do_not_rise_are_repaired_and_flagged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), GREY)
    for seq, time in enumerate([1_000_000, 11_000_000, 11_000_000, 4_000_000, 31_000_000]):
        put(recorder, seq, time)
    recorder.close()
    rows = rows_of(tmp_path)
    times = [int(row["pts_us"]) for row in rows]
    assert times == [0, 10_000, 10_001, 10_002, 30_000]
    assert [row["note"] for row in rows] == ["", "", *["presentation time repaired"] * 2, ""]
    assert rows[3]["captured_ns"] == "4000000"  # the raw time is kept
    assert frames_in(tmp_path / "video.mp4") == 5


def test_a_pause_that_the_container_cannot_hold_is_shortened_and_flagged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), GREY)
    for seq, seconds in enumerate([0, 1, 3_601, 3_602]):
        put(recorder, seq, seconds * 1_000_000_000)
    recorder.close()
    rows = rows_of(tmp_path)
    times = [int(row["pts_us"]) for row in rows]
    assert times == [0, 1_000_000, 2_001_000_000, 2_002_000_000]
    assert "pause too long" in rows[2]["note"]
    with av.open(str(tmp_path / "video.mp4")) as container:
        base: Any = container.streams.video[0].time_base
        in_file = [round(frame.pts * base * 1e6) for frame in container.decode(video=0)]
    assert in_file == times


def test_a_presentation_time_of_the_cameras_own_is_taken(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), GREY)
    for seq in range(3):
        put(recorder, seq, seq * 999_000_000, presentation_ns=seq * 40_000_000)
    recorder.close()
    assert [row["pts_us"] for row in rows_of(tmp_path)] == ["0", "40000", "80000"]


def test_truth_is_written_beside(tmp_path: Path) -> None:
    camera = CameraFormat(height=48, width=64, pixel_format="gray8", truth_names=("snout", "tail"))
    recorder = Recorder(tmp_path, RecordingSettings(), camera)
    put(recorder, 0, truth=((1.0, 2.0), (3.25, 4.0)))
    recorder.close()
    assert (tmp_path / "truth.csv").read_text() == "seq,snout_x,snout_y,tail_x,tail_y\n0,1.000,2.000,3.250,4.000\n"


def test_without_recording_the_table_is_kept_alone(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, None, GREY)
    assert put(recorder, 0)
    recorder.close()
    assert [row["state"] for row in rows_of(tmp_path)] == ["not-recorded"]
    assert not list(tmp_path.glob("video.*"))


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size by a POSIX call")
def test_a_disk_that_takes_no_more_is_reported_and_what_was_written_is_valid(tmp_path: Path) -> None:
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    camera = CameraFormat(height=240, width=320, pixel_format="gray8", rate_hz=100.0)
    noise = np.random.default_rng(0).integers(0, 256, (40, *camera.shape), np.uint8)
    recorder = Recorder(tmp_path, RecordingSettings(), camera)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        for seq in range(40):
            recorder.put(stamped(seq), noise[seq])
        recorder.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert recorder.error is not None
    assert "video.mp4" in recorder.error
    states = [row["state"] for row in rows_of(tmp_path)]
    assert len(states) == 40
    recorded = states.count("recorded")
    assert recorded > 0
    assert states == ["recorded"] * recorded + ["encoder-error"] * (40 - recorded)
    playable = 0
    try:
        with av.open(str(tmp_path / "video.mp4")) as container:
            for _ in container.decode(video=0):
                playable += 1
    except av.error.FFmpegError:
        pass
    assert playable >= recorded - 2
