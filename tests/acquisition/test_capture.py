"""The capture thread with a real socket and a real recorder, and cameras that misbehave."""

import csv
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from posestream.acquisition.announcer import MAX_EVENTS
from posestream.acquisition.backends.synthetic import SyntheticCamera, SyntheticSettings
from posestream.acquisition.camera import Camera, CameraError, CameraFormat, CameraSettings, Capture
from posestream.acquisition.capture import CaptureThread
from posestream.acquisition.encoder import VideoWriter
from posestream.acquisition.lag import EncoderLag
from posestream.acquisition.recorder import Recorder
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.endpoints import local_endpoint
from posestream.stream.wire.messages import Event, Frame, Hello, StreamInfo, decode
from posestream.stream.wire.settings import RecordingSettings
from posestream.stream.wire.sockets import Publisher, subscriber

from ..support.waiting import until

SIZE = {"width": 64, "height": 48, "noise": 0.0, "buffers": 1000}  # a busy machine loses nothing here


class Bench:
    """A capture thread over a camera, as a camera's process has it."""

    def __init__(self, camera: Camera, folder: Path, context: zmq.Context, **options: Any) -> None:
        self.format = camera.open()
        self.folder = folder
        self.publisher = Publisher(context, local_endpoint("test"), queue_bytes=2**20, message_bytes=4_000)
        info = StreamInfo(
            camera="top",
            endpoint=self.publisher.endpoint,
            height=self.format.height,
            width=self.format.width,
            pixel_format=self.format.pixel_format,
            rate_hz=self.format.rate_hz,
        )
        self.socket = subscriber(context, [info.endpoint], queue_bytes=2**24, message_bytes=4_000)
        self.capture = CaptureThread(
            camera,
            self.format,
            self.publisher,
            info,
            "session",
            silent_s=options.pop("silent_s", 5.0),
            reconnect_s=options.pop("reconnect_s", 10.0),
        )
        self.recorder = Recorder(folder, RecordingSettings(**{"queue_s": 3600} | options), self.format)
        self.capture.begin(self.recorder, None)

    def end(self) -> list[dict[str, str]]:
        """Close everything; gives the frame table."""
        self.capture.end()
        self.recorder.close()
        return list(csv.DictReader((self.folder / "frames.csv").read_text().splitlines()))

    def told(self, name: str) -> list[Event]:
        return [event for event in self.capture.events if event.name == name]

    def messages(self) -> list[Any]:
        found = []
        while self.socket.poll(100):
            found.append(decode(self.socket.recv_multipart()))
        return found

    def close(self) -> None:
        self.capture.end()
        self.recorder.close()
        self.publisher.close()
        self.socket.close(0)


@pytest.fixture
def bench(tmp_path: Path, context: zmq.Context) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(camera: Camera, **options: Any) -> Bench:
        made.append(Bench(camera, tmp_path, context, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def synthetic(**options: Any) -> SyntheticCamera:
    return SyntheticCamera(SyntheticSettings(**(SIZE | options)))


class ScriptedCamera:
    """Delivers what it is told to; `read` takes the next entry of a script: a capture, an error, or nothing."""

    Settings = CameraSettings

    def __init__(
        self,
        script: list[Capture | Exception | None],
        formats: list[CameraFormat | Exception],
        pixels: NDArray[np.uint8] | None = None,
    ) -> None:
        self._script, self._formats, self._pixels = script, formats, pixels

    def open(self) -> CameraFormat:
        found = self._formats.pop(0) if len(self._formats) > 1 else self._formats[0]
        if isinstance(found, Exception):
            raise found
        return found

    def start(self) -> None:
        pass

    def read(self, out: np.ndarray, timeout_s: float) -> Capture | None:
        step = self._script.pop(0) if self._script else None
        if isinstance(step, Exception):
            raise step
        if step is None:
            time.sleep(min(timeout_s, 0.01))
            return None
        out[:] = 0 if self._pixels is None else np.roll(self._pixels, len(self._script), 1)
        return msgspec.structs.replace(step, captured_ns=monotonic_ns())

    def stop(self) -> None:
        pass


GREY = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)
LOST = CameraError("camera 7: lost")


def shots(*device_ids: int | None) -> list[Any]:
    return [Capture(captured_ns=0, device_id=device_id) for device_id in device_ids]


def test_a_camera_that_comes_back_goes_on_in_the_same_table_and_video(bench) -> None:
    run = bench(synthetic(rate_hz=100.0, unplug=(20, 0.4), skew_ppm=100.0))
    until(lambda: run.capture.captured >= 50)
    rows = run.end()
    assert run.capture.error is None
    assert (run.capture.disconnects, run.capture.lost_camera) == (1, 0)
    assert [int(row["seq"]) for row in rows] == [int(row["video_frame"]) for row in rows] == list(range(len(rows)))
    assert [int(row["device_id"]) for row in rows] == [*range(20), *range(len(rows) - 20)]
    assert [number for number, row in enumerate(rows) if row["note"]] == [20]
    assert "camera reconnected after" in rows[20]["note"]
    assert "device ids began anew after 19" in rows[20]["note"]
    captured = [int(row["captured_ns"]) for row in rows]
    assert all(later > earlier for earlier, later in pairwise(captured))
    assert all(int(row["arrived_ns"]) >= int(row["captured_ns"]) for row in rows)
    assert captured[20] - captured[19] >= 400_000_000
    [away], [back] = run.told("disconnected"), run.told("reconnected")
    assert (away.level, away.data["seq"], back.data["seq"]) == ("warning", 20, 20)
    assert back.data["gap_ms"] == run.capture.gap_ns // 1_000_000 >= 400
    assert not run.told("silent")
    assert run.capture.stamps.rate_hz == pytest.approx(100.0, rel=0.2)  # without the gap
    names = {message.name for message in run.messages() if isinstance(message, Event)}
    assert {"disconnected", "reconnected", "device-id", "end"} <= names


def test_while_it_is_away_readers_are_greeted_and_a_stop_works_at_once(bench) -> None:
    run = bench(synthetic(rate_hz=100.0, unplug=(5, 1e6)), reconnect_s=1e6)
    until(lambda: run.capture.disconnects == 1)
    assert run.messages()  # all that there was before
    until(lambda: any(isinstance(message, Hello) for message in run.messages()))
    rows = run.end()  # and not after the million seconds
    assert run.capture.error is None
    assert len(rows) == 5


def test_a_camera_that_stays_away_ends_the_capture_and_what_was_recorded_is_whole(bench) -> None:
    run = bench(synthetic(rate_hz=100.0, unplug=(5, 1e6)), reconnect_s=0.3)
    until(lambda: run.capture.error is not None)
    rows = run.end()
    assert "is unplugged; it did not come back within the 0.3 s of reconnect_s" in str(run.capture.error)
    assert [row["state"] for row in rows] == ["recorded"] * 5
    assert run.recorder.error is None


def test_a_camera_that_comes_back_as_another_ends_the_capture(bench) -> None:
    other = msgspec.structs.replace(GREY, width=32)
    run = bench(ScriptedCamera([*shots(0, 1), LOST], [GREY, other]))
    until(lambda: run.capture.error is not None)
    assert "came back with frames of 32x48 gray8, 8 bits, they were 64x48 gray8, 8 bits" in str(run.capture.error)
    assert len(run.end()) == 2


@pytest.mark.parametrize(("reconnect_s", "reconnects"), [(0.0, True), (60.0, False)])
def test_where_it_is_not_to_be_looked_for_the_capture_ends_with_its_error(bench, reconnect_s, reconnects) -> None:
    camera_format = msgspec.structs.replace(GREY, reconnects=reconnects)
    run = bench(ScriptedCamera([*shots(0, 1), LOST], [camera_format]), reconnect_s=reconnect_s)
    until(lambda: run.capture.error is not None)
    assert run.capture.error is LOST
    assert run.capture.disconnects == 0


def test_a_camera_that_fails_again_before_it_delivers_is_one_outage(bench) -> None:
    script = [*shots(0, 1), LOST, LOST, None, LOST, *shots(0, 1)]
    run = bench(ScriptedCamera(script, [GREY, LOST, GREY, LOST, GREY]))
    until(lambda: run.capture.captured == 4)
    rows = run.end()
    assert run.capture.disconnects == len(run.told("disconnected")) == len(run.told("reconnected")) == 1
    assert [row["device_id"] for row in rows] == ["0", "1", "0", "1"]


def test_a_camera_that_came_back_and_delivers_nothing_is_silent(bench) -> None:
    script = [*shots(0, 1), LOST, *[None] * 60, *shots(0)]
    run = bench(ScriptedCamera(script, [GREY, LOST, GREY]), silent_s=0.2)
    until(lambda: run.capture.captured == 3)
    names = [event.name for event in run.capture.events]
    assert names == ["disconnected", "silent", "reconnected", "device-id"]
    assert run.capture.silences == 1


def test_numbers_on_the_wire_are_unwrapped_and_losses_over_the_wrap_counted(bench) -> None:
    camera_format = msgspec.structs.replace(GREY, device_ids=(1, 65_535))
    run = bench(ScriptedCamera([None] * 30 + shots(65_534, 65_535, 1, 4, None, 6), [camera_format]))
    until(lambda: run.capture.captured == 6)
    rows = run.end()
    assert [row["device_id"] for row in rows] == [str(65_534 + k) for k in range(6)] + ["", "65541"]
    assert [row["state"] for row in rows].count("lost-camera") == run.capture.lost_camera == 2
    [lost] = run.told("lost-camera")
    assert lost.data == {"count": 2, "first_id": 65_537, "last_id": 65_538}
    sent = [message.header.device_id for message in run.messages() if isinstance(message, Frame)]
    assert sent == [65_534, 65_535, 65_536, 65_539, None, 65_541]


def test_stamps_that_no_clock_gives_are_left_out(bench) -> None:
    camera_format = msgspec.structs.replace(GREY, tick_ns=8.0)
    ticks = [1_000, 2**64 - 1, -(2**80), 3_750_000, None]
    script: list[Any] = [None] * 30 + [Capture(captured_ns=0, device_time=tick) for tick in ticks]
    run = bench(ScriptedCamera(script, [camera_format]))
    until(lambda: run.capture.captured == 5)
    rows = run.end()
    assert [row["device_time"] for row in rows] == ["1000", "", "", "3750000", ""]
    assert [row["note"] for row in rows] == ["", *["device time missing"] * 2, "", "device time missing"]
    assert len([message for message in run.messages() if isinstance(message, Frame)]) == 5


def test_events_that_nobody_takes_are_bounded_and_counted(bench) -> None:
    run = bench(ScriptedCamera(shots(*[5] * (MAX_EVENTS + 200)), [GREY]))
    until(lambda: run.capture.captured == MAX_EVENTS + 200)
    run.end()
    assert len(run.capture.events) == MAX_EVENTS
    assert run.capture.events_dropped == 200  # all but the first repeat, and the end is told as well


def test_a_burst_keeps_within_the_queue(bench) -> None:
    """What the device held back comes as fast as it can be read; what finds no room is lost by name.

    No processor encodes noise of 640x480 at this preset as fast as another of its cores copies it.
    """
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 1), np.uint8)
    large = msgspec.structs.replace(GREY, width=640, height=480)
    run = bench(ScriptedCamera(shots(*range(200)), [large], noise), queue_bytes=20 * noise.size, preset="veryslow")
    until(lambda: run.capture.captured == 200)
    rows = run.end()
    states = [row["state"] for row in rows]
    assert run.recorder.longest_queue_bytes <= 20 * noise.size
    assert len(rows) == 200
    assert states.count("lost-queue") == run.capture.lost_queue == 200 - states.count("recorded") > 0
    assert states[:20] == ["recorded"] * 20  # as many as the queue holds


def test_a_rate_other_than_asked_is_told_once(bench, monkeypatch) -> None:
    monkeypatch.setattr("posestream.acquisition.capture.RATE_S", 0.2)
    camera_format = msgspec.structs.replace(GREY, rate_hz=1_000.0)
    script = [step for shot in shots(*range(60)) for step in (shot, None)]  # a hundred a second at best
    run = bench(ScriptedCamera(script, [camera_format]))
    until(lambda: run.capture.captured == 60)
    [told] = run.told("rate")
    assert told.level == "warning"
    assert told.data["asked_hz"] == 1_000
    assert told.data["measured_hz"] < 110


def test_frames_that_come_late_are_neither_lost_nor_told(bench) -> None:
    ids = [119, 121, 120, *range(122, 160)]
    run = bench(ScriptedCamera(shots(*ids), [GREY]))
    until(lambda: run.capture.captured == len(ids))
    rows = run.end()
    assert [int(row["device_id"]) for row in rows] == ids
    assert {row["state"] for row in rows} == {"recorded"}
    assert run.capture.lost_camera == 0
    assert not run.told("lost-camera")
    assert [event.data["seq"] for event in run.told("device-id")] == [2]


def test_a_loss_is_told_once_no_frame_can_come_late_any_more(bench) -> None:
    ids = [1, 2, 6, 4, *range(7, 30), 5]
    run = bench(ScriptedCamera(shots(*ids), [GREY]))
    until(lambda: run.capture.captured == len(ids))
    rows = run.end()
    [lost] = run.told("lost-camera")
    assert lost.data == {"count": 2, "first_id": 3, "last_id": 5}
    assert run.capture.lost_camera == 1
    assert [event.data["seq"] for event in run.told("found")] == [len(ids) - 1]
    assert [row["device_id"] for row in rows if row["state"] == "lost-camera"] == ["3"]
    assert run.recorder.states == {"recorded": len(ids), "lost-camera": 1}


def test_an_encoder_that_is_behind_is_told_and_that_it_has_caught_up(bench, monkeypatch) -> None:
    gate, write = threading.Event(), VideoWriter.write
    monkeypatch.setattr(VideoWriter, "write", lambda *given: (gate.wait(60), write(*given))[1])
    run = bench(ScriptedCamera(shots(*range(5)), [GREY]), queue_s=60.0)
    until(lambda: bool(run.told("encoder-behind")))
    [told] = run.told("encoder-behind")
    assert told.level == "warning"
    assert told.data["waiting_ms"] > 500
    assert "at 60000 ms frames are lost" in told.text
    gate.set()
    until(lambda: len(run.told("encoder-behind")) == 2)
    assert run.told("encoder-behind")[1].level == "info"
    assert {row["state"] for row in run.end()} == {"recorded"}


def test_that_the_encoder_is_behind_is_not_told_with_every_frame() -> None:
    lag, second = EncoderLag(2.0), 1_000_000_000
    assert lag.look(0, 500) is None
    assert "501 ms behind; at 2000 ms" in (lag.look(0, 501) or "")
    assert lag.look(second, 900) is None
    assert lag.behind
    assert lag.look(2 * second, 40) == "has caught up"
    assert lag.look(3 * second, 900) is None
    assert lag.look(4 * second, 10) is None
    assert "behind" in (lag.look(11 * second, 900) or "")


def test_no_number_is_published_without_a_row(bench, monkeypatch) -> None:
    monkeypatch.setattr("posestream.acquisition.recorder.STALL_S", 60.0)  # here the disk is waited for
    run = bench(ScriptedCamera(shots(*range(200)), [GREY]))
    table = run.folder / "frames.csv"
    send, behind = run.publisher.send, []

    def watch(parts: list[Any]) -> None:
        message = decode([bytes(part) for part in parts])
        if isinstance(message, Frame):
            rows = table.read_bytes().splitlines()
            behind.append(message.header.frame_seq - (len(rows) - 2))
        send(parts)

    run.publisher.send = watch
    until(lambda: run.capture.captured == 200)
    run.end()
    assert len(behind) > 100
    assert max(behind) <= 0
