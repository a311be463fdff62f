import csv
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import av
import numpy as np
import pytest

from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.encoder import EncodedPacket, VideoWriter
from posestream.acquisition.frame_table import FrameTable
from posestream.acquisition.recorder import MAX_ROWS_WAITING, Recorder
from posestream.acquisition.stamps import FrameStamper, Stamped
from posestream.stream.disk.tables import FrameState
from posestream.stream.wire.settings import RecordingSettings

from ..support.waiting import until

SETTINGS = RecordingSettings(
    queue_s=3600
)  # however slow the machine is, frames come much faster here than from a camera
GREY = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "frames.csv").read_text().splitlines()))


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def stamped(seq: int, captured_ns: int | None = None, lost: range = range(0), **capture) -> Stamped:
    time = seq * 10_000_000 if captured_ns is None else captured_ns
    return Stamped(
        frame_seq=seq,
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
    recorder = Recorder(tmp_path, SETTINGS, GREY)
    assert all(put(recorder, seq) for seq in range(300))
    recorder.close()
    rows = rows_of(tmp_path)
    assert recorder.error is None
    assert frames_in(tmp_path / "video.mp4") == len(rows) == 300
    assert [int(row["seq"]) for row in rows] == [int(row["video_frame"]) for row in rows] == list(range(300))
    assert [int(row["pts_us"]) for row in rows] == [seq * 10_000 for seq in range(300)]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_recording_without_a_frame_is_closed(tmp_path: Path, container) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=3600, container=container), GREY)
    recorder.sync()
    recorder.close()
    assert recorder.error is None
    assert recorder.video_bytes == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.csv"]


def test_frames_are_recorded_while_a_slow_disk_takes_in_what_was_written(tmp_path: Path, monkeypatch) -> None:
    import os

    recorder, slow, sync = Recorder(tmp_path, SETTINGS, GREY), threading.Event(), os.fsync
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


def test_frames_that_the_camera_lost_stand_in_their_place(tmp_path: Path, monkeypatch) -> None:
    recorder = Recorder(tmp_path, SETTINGS, GREY)
    put(recorder, 0, device_id=10)
    put(recorder, 1, lost=range(11, 14), device_id=14)
    recorder.close()
    assert [(row["device_id"], row["state"]) for row in rows_of(tmp_path)] == [
        ("10", "recorded"),
        *((str(device_id), "lost-camera") for device_id in (11, 12, 13)),
        ("14", "recorded"),
    ]


def before_encoding(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Let encoders wait before each frame."""
    write = VideoWriter.write

    def waiting(writer: VideoWriter, *given: Any) -> list[EncodedPacket]:
        wait()
        return write(writer, *given)

    monkeypatch.setattr(VideoWriter, "write", waiting)


def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold encoders up until the event that it gives is set."""
    gate = threading.Event()
    before_encoding(monkeypatch, lambda: gate.wait(60))
    return gate


def test_a_full_queue_loses_the_new_frame_and_says_so(tmp_path: Path, monkeypatch) -> None:
    gate = held_up(monkeypatch)
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=3600, queue_bytes=5 * 48 * 64), GREY)
    kept = [put(recorder, seq) for seq in range(50)]
    gate.set()
    recorder.close()
    rows = rows_of(tmp_path)
    assert 5 <= sum(kept) <= 6  # five that wait, and the one that the encoder holds
    assert [row["state"] for row in rows] == ["recorded" if each else "lost-queue" for each in kept]
    assert frames_in(tmp_path / "video.mp4") == sum(kept)
    assert recorder.states == {"recorded": sum(kept), "lost-queue": 50 - sum(kept)}
    assert recorder.longest_queue_bytes <= 5 * 48 * 64


class Clock:
    """Stands where it is put."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_a_frame_that_has_waited_too_long_makes_the_new_ones_lost(tmp_path: Path, monkeypatch) -> None:
    clock = Clock()
    gate, inside = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        gate.wait(60)

    before_encoding(monkeypatch, wait)
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=1.5), GREY, clock)
    assert put(recorder, 0)
    assert inside.wait(30)  # the encoder holds it; from here on frames wait
    assert put(recorder, 1)
    clock.now_ns = 1_500_000_000
    assert recorder.waiting_ms == 1_500
    assert put(recorder, 2)
    clock.now_ns += 1
    assert not put(recorder, 3)
    gate.set()
    recorder.close()
    assert recorder.waiting_ms == 0
    assert [row["state"] for row in rows_of(tmp_path)] == [*["recorded"] * 3, "lost-queue"]
    assert recorder.error is None


def test_no_frame_waits_longer_than_it_may_for_an_encoder_that_is_too_slow(tmp_path: Path, monkeypatch) -> None:
    """At 200 frames a second, of which the encoder does ten: by its pace, twenty can wait for two seconds."""
    clock = Clock()
    turn, done = threading.Semaphore(0), threading.Semaphore(0)

    def encode() -> None:
        turn.acquire(timeout=60)
        clock.now_ns += 100_000_000
        done.release()

    before_encoding(monkeypatch, encode)
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=2.0), GREY, clock)
    waited_ms, kept, seq = list[int](), list[bool](), 0
    for number in range(60):
        for _ in range(60 if not number else 20):
            kept.append(put(recorder, seq))
            seq += 1
        waited_ms.append(recorder.waiting_ms)
        turn.release()
        while not done.acquire(timeout=0.05) and recorder.waiting:  # all may have been dropped
            pass
    assert kept[0]
    assert max(waited_ms) <= 2_200
    dropped = recorder.dropped  # what came before the first pace was known
    turn.release(10_000)
    recorder.close()
    assert recorder.states == {"recorded": sum(kept) - dropped, "lost-queue": seq - sum(kept) + dropped}
    assert len(rows_of(tmp_path)) == seq
    assert frames_in(tmp_path / "video.mp4") == sum(kept) - dropped


def test_what_waits_for_a_stall_to_end_is_recorded(tmp_path: Path, monkeypatch) -> None:
    """The encoder is faster than the camera, so it catches up."""
    clock = Clock()
    durations: SimpleQueue[int] = SimpleQueue()
    done = threading.Semaphore(0)

    def encode() -> None:
        clock.now_ns += durations.get()
        done.release()

    before_encoding(monkeypatch, encode)
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=2.0), GREY, clock)
    for seq in range(30):
        assert put(recorder, seq)
        durations.put(5_000_000)
        done.acquire()
        clock.now_ns += 5_000_000
    for seq in range(30, 130):
        assert put(recorder, seq)
        clock.now_ns += 10_000_000
    clock.now_ns += 9_000_000_000
    assert not put(recorder, 130)
    for _ in range(100):
        durations.put(1_000_000)
        done.acquire()
    assert put(recorder, 131)
    durations.put(1)
    recorder.close()
    assert recorder.dropped == 0
    assert recorder.states == {"recorded": 131, "lost-queue": 1}


def test_every_frame_has_its_row_while_the_encoder_stands_still(tmp_path: Path, monkeypatch) -> None:
    """As the files of a process that is killed at this moment."""
    gate = held_up(monkeypatch)
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=3600, queue_bytes=10 * 48 * 64), GREY)
    kept = []
    for seq in range(40):
        kept.append(put(recorder, seq, lost=range(100, 103) if seq == 20 else range(0)))
        while not recorder.await_row():
            pass
        assert rows_of(tmp_path)[-1]["seq"] == str(seq)
    rows = rows_of(tmp_path)
    assert len(rows) == 43
    assert [row["state"] for row in rows if row["seq"]] == ["delivered" if one else "lost-queue" for one in kept]
    assert [row["device_id"] for row in rows[20:23]] == ["100", "101", "102"]
    assert recorder.states == {"delivered": sum(kept), "lost-queue": 40 - sum(kept), "lost-camera": 3}
    gate.set()
    recorder.close()
    assert {row["state"] for row in rows_of(tmp_path)} == {"recorded", "lost-queue", "lost-camera"}
    assert not (tmp_path / "packets.csv").exists()


def test_the_checksum_of_each_packet_stands_in_its_row(tmp_path: Path) -> None:
    from posestream.stream.session.video_times import decode_video

    recorder = Recorder(tmp_path, SETTINGS, GREY)
    for seq in range(50):
        put(recorder, seq)
    recorder.close()
    decoded = decode_video(tmp_path / "video.mp4")
    assert [row["crc32"] for row in rows_of(tmp_path)] == [f"{crc32:08x}" for crc32 in decoded.crc32]
    assert len(set(decoded.crc32)) > 10


def test_a_frame_that_comes_late_has_one_row(tmp_path: Path) -> None:
    recorder, stamps = Recorder(tmp_path, SETTINGS, GREY), FrameStamper(GREY)
    for number, device_id in enumerate((119, 121, 120, 122, 125, 124, 126)):
        capture = Capture(captured_ns=number * 10_000_000, device_id=device_id)
        recorder.put(stamps.stamp(capture, 0), np.zeros(GREY.shape, np.uint8))
    recorder.close()
    rows = rows_of(tmp_path)
    assert [(row["device_id"], row["state"]) for row in rows] == [
        *((str(one), "recorded") for one in (119, 121, 120, 122)),
        ("123", "lost-camera"),
        *((str(one), "recorded") for one in (125, 124, 126)),
    ]
    assert [row["video_frame"] for row in rows if row["seq"]] == [str(place) for place in range(7)]
    assert recorder.states == {"recorded": 7, "lost-camera": 1}


def test_a_disk_that_stands_still_is_given_up_before_the_rows_fill_the_memory(tmp_path: Path, monkeypatch) -> None:
    gate, append = threading.Event(), FrameTable.delivered
    monkeypatch.setattr(FrameTable, "delivered", lambda *given: (gate.wait(60), append(*given)))
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=3600, queue_bytes=48 * 64), GREY)
    frame, pixels = stamped(1), np.zeros(GREY.shape, np.uint8)
    for _ in range(MAX_ROWS_WAITING + 10):
        recorder.put(frame, pixels)
    assert recorder.error is not None
    assert "stands still" in recorder.error
    assert recorder.unwritten == 10
    monkeypatch.setattr(FrameTable, "delivered", lambda *_: None)  # so that the test need not write them all
    gate.set()
    recorder.close()


def test_two_frames_within_a_millisecond_have_two_times_in_matroska(tmp_path: Path) -> None:
    from posestream.stream.session.video_times import decode_video

    camera = CameraFormat(height=480, width=640, pixel_format="gray8", rate_hz=100.0)
    recorder = Recorder(tmp_path, RecordingSettings(queue_s=3600, container="mkv"), camera)
    # A camera without a clock whose process was suspended: what waited comes at once
    times_us = [0, 10_000, *range(130_000, 130_600, 50), 140_200, 150_000]
    for seq, time_us in enumerate(times_us):
        recorder.put(stamped(seq, time_us * 1_000), np.full(camera.shape, seq, np.uint8))
    recorder.close()
    rows, decoded = rows_of(tmp_path), decode_video(tmp_path / "video.mkv")
    assert (np.diff(decoded.times_us) > 0).all()
    assert np.abs(decoded.times_us - [int(row["pts_us"]) for row in rows]).max() <= 500
    assert [row["captured_ns"] for row in rows] == [str(time_us * 1_000) for time_us in times_us]
    assert {row["note"] for row in rows} == {"", "presentation time repaired"}


def test_times_that_do_not_rise_are_repaired_and_flagged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SETTINGS, GREY)
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
    recorder = Recorder(tmp_path, SETTINGS, GREY)
    for seq, seconds in enumerate([0, 1, 3_601, 3_602]):
        put(recorder, seq, seconds * 1_000_000_000)
    recorder.close()
    rows = rows_of(tmp_path)
    times = [int(row["pts_us"]) for row in rows]
    assert times == [0, 1_000_000, 2_001_000_000, 2_002_000_000]
    assert "pause too long" in rows[2]["note"]
    with av.open(str(tmp_path / "video.mp4")) as container:
        base: Any = container.streams.video[0].time_base
        in_file = [round((frame.pts or 0) * base * 1e6) for frame in container.decode(video=0)]
    assert in_file == times


def test_a_presentation_time_of_the_cameras_own_is_taken(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SETTINGS, GREY)
    for seq in range(3):
        put(recorder, seq, seq * 999_000_000, presentation_ns=seq * 40_000_000)
    recorder.close()
    assert [row["pts_us"] for row in rows_of(tmp_path)] == ["0", "40000", "80000"]


def test_truth_is_written_beside(tmp_path: Path) -> None:
    camera = CameraFormat(height=48, width=64, pixel_format="gray8", truth_names=("snout", "tail"))
    recorder = Recorder(tmp_path, SETTINGS, camera)
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
    recorder = Recorder(tmp_path, SETTINGS, camera)
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


def test_a_row_is_waited_for_unless_the_disk_stands_still(tmp_path: Path, monkeypatch) -> None:
    written, write = threading.Event(), FrameTable.delivered

    def slowly(table: FrameTable, frame: Stamped, state: FrameState) -> None:
        written.wait()
        write(table, frame, state)

    monkeypatch.setattr(FrameTable, "delivered", slowly)
    recorder = Recorder(tmp_path, SETTINGS, GREY)
    put(recorder, 0)
    assert not recorder.await_row()  # the disk takes nothing for STALL_S
    put(recorder, 1)
    assert not recorder.await_row()  # and is not waited for again
    written.set()
    until(recorder.await_row)
    put(recorder, 2)
    assert recorder.await_row()
    assert [row["seq"] for row in rows_of(tmp_path)] == ["0", "1", "2"]
    recorder.close()
