"""The capture thread: from the camera to the recorder's queue and to the socket, waiting for neither."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Literal

import numpy as np

from posestream.acquisition.announcer import Announcer
from posestream.acquisition.camera import Camera, CameraError, CameraFormat, Capture, EndOfStream, Pixels
from posestream.acquisition.depth import EightBits
from posestream.acquisition.lag import EncoderLag
from posestream.acquisition.outage import Outage
from posestream.acquisition.pace import InferencePacing
from posestream.acquisition.recorder import Recorder
from posestream.acquisition.stamps import FrameStamper, Loss, Stamped
from posestream.stream.disk.notes import Note
from posestream.stream.disk.tables import FrameState
from posestream.stream.wire.clock import monotonic_ns, wall_offset_ns
from posestream.stream.wire.messages import (
    END,
    FOUND,
    RATE_TOLERANCE,
    RECONNECTED,
    Event,
    FrameHeader,
    StreamInfo,
    encode_frame,
)
from posestream.stream.wire.plugins import HANG_S, AbandonedError, Guard, PluginError
from posestream.stream.wire.sockets import Publisher

__all__ = ["CaptureThread"]

READ_S = 0.1
"""Seconds that the camera may be waited for at a time, so that the thread hears of a stop."""
AWAY_S = 0.05
"""Seconds between two looks at the rest of the world while the camera is away."""
RATE_S = 10.0
"""Seconds over which the rate is measured before it is judged."""
LOST_QUEUE_NS = 1_000_000_000
"""Nanoseconds between two events about frames that the recorder had no room for."""


class CaptureThread:
    """Greets subscribers from the beginning; reads the camera from `begin` until `end`.

    The thread owns the camera and the publisher's socket from here on.

    Parameters
    ----------
    camera
        An opened camera.
    camera_format
        What `open` gave.
    publisher
        Where frames go.
    info
        The stream, for greetings.
    session
        The session's id.
    silent_s
        Seconds without a frame after which the camera is said to be silent.
    reconnect_s
        Seconds for which a camera that was lost is looked for.
    guard
        Through which the camera's backend is called; a backend that does not return is then left behind.

    Raises
    ------
    CameraError
        Where the format's levels can't be.
    """

    def __init__(
        self,
        camera: Camera,
        camera_format: CameraFormat,
        publisher: Publisher,
        info: StreamInfo,
        session: str,
        silent_s: float,
        reconnect_s: float,
        guard: Guard | None = None,
    ) -> None:
        self._camera, self._format, self._publisher = camera, camera_format, publisher
        self._guard, self._late_call = guard, False
        self._info, self._session, self._silent_ns = info, session, round(silent_s * 1e9)
        self._announcer = Announcer(publisher, info, session)
        self._eight_bits = EightBits(camera_format) if camera_format.bits > 8 else None
        self._recorder: Recorder | None = None
        self._pacing: InferencePacing | None = None
        self._begun, self._stopping = threading.Event(), threading.Event()
        self._reconnect_s = reconnect_s
        self._outage: Outage | None = None
        self._heard_ns = 0  # when the last frame came, or the camera was started
        self._quiet_ns = 0  # from when on it is to be heard
        self._silent = False
        self._told_queue, self._told_queue_ns, self._last_lost_seq = 0, 0, 0
        self.stamps = FrameStamper(camera_format)
        """Numbers and times, and what they say of the camera."""
        self.error: BaseException | None = None
        """What ended the capture early."""
        self.ended = False
        """Whether the camera has no more frames."""
        self.started = False
        """Whether the camera delivers, or waits for triggers."""
        self.captured = 0
        """Frames that the camera delivered."""
        self.lost_camera = 0
        """Frames that the device numbered and did not deliver."""
        self._no_room = 0
        self.silences = 0
        """Times that the camera fell silent."""
        self.disconnects = 0
        """Times that the camera was lost."""
        self.gap_ns = 0
        """Time without frames because of that, until the camera delivered again."""
        self._rate_told = False
        # A process does not wait for a backend that never returns.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def begin(self, recorder: Recorder, pacing: InferencePacing | None) -> None:
        """Start the camera; frames go to the recorder, at the pace of inference where `pacing` is given."""
        self._recorder, self._pacing = recorder, pacing
        self._begun.set()

    def end(self) -> None:
        """Stop the camera and end the thread; one whose backend does not return in time is left behind, an `error`."""
        self._stopping.set()
        self._thread.join(HANG_S)
        while self._thread.is_alive():
            what = self._guard.abandon() if self._guard is not None else ""
            if what and self._guard is not None:
                self.error = self.error or PluginError(f"{self._guard.name} did not return from {what}")
                self._say_end()
                return
            self._thread.join(0.1)

    def look(self) -> None:
        """Tell of a backend that does not return, once; to be called a few times a second."""
        what, seconds = self._guard.watch() if self._guard is not None else ("", 0.0)
        late = seconds > self._silent_ns / 1e9
        if late and not self._late_call and self._guard is not None:
            text = f"camera {self._info.camera}: {self._guard.name} has not returned from {what} for {seconds:.0f} s"
            self._announcer.report("warning", "late", text)
        self._late_call = late

    @property
    def events(self) -> deque[Event]:
        """What happened; whoever reads it takes it out."""
        return self._announcer.events

    @property
    def events_dropped(self) -> int:
        """Events that nobody took out in time."""
        return self._announcer.dropped

    def warn(self, name: str, text: str) -> None:
        """Tell of something that another thread has found."""
        self._announcer.warn(name, text)

    @property
    def lost_queue(self) -> int:
        """Frames for which the recorder had no room, or no time."""
        return self._no_room + (self._recorder.dropped if self._recorder is not None else 0)

    @property
    def malformed(self) -> int:
        """Messages of the pose stream dropped because the protocol does not allow them."""
        return self._pacing.malformed if self._pacing is not None else 0

    def _run(self) -> None:
        try:
            self._work()
        except EndOfStream:
            self.ended = True
        except BaseException as error:  # noqa: BLE001 - the main thread raises it again
            self._fail(error)
        try:
            self._camera.stop()
        except AbandonedError:
            return
        except BaseException as error:  # noqa: BLE001
            self._fail(error)
        self._say_end()

    def _work(self) -> None:
        while not self._begun.wait(0.02):
            self._announcer.greet()
            if self._stopping.is_set():
                return
        if self._recorder is not None:
            self._camera.start()
            self.started = True
            self._capture(self._recorder)

    def _fail(self, error: BaseException) -> None:
        if self.error is None and not isinstance(error, AbandonedError):
            self.error = error

    def _say_end(self) -> None:
        if self._outage is not None:
            self.gap_ns += monotonic_ns() - self._heard_ns
        self._tell_lost(self.stamps.end())
        if self._recorder is not None:
            self._recorder.end_of_stream()
        self._tell_queue()
        self._announcer.tell("info", END, f"camera {self._info.camera} ended", frames=self.captured)
        if self._pacing is not None:
            self._pacing.close()

    def _capture(self, recorder: Recorder) -> None:
        self._heard_ns = self._quiet_ns = monotonic_ns()
        lag = EncoderLag(recorder.limit_s)
        out = np.empty(self._format.shape, self._format.dtype)
        while not self._stopping.is_set():
            self._announcer.greet()
            self._note_lag(lag, recorder.waiting_ms)
            if self._pacing is not None and not self._may_go_on(self._pacing, recorder):
                continue
            if self._outage is not None and not self._found(self._outage):
                self._stopping.wait(AWAY_S)
                continue
            try:
                capture = self._camera.read(out, READ_S)
            except CameraError as error:
                self._lose(error)
                continue
            if capture is None:
                self._note_silence()
                continue
            self._deliver(recorder, capture, out, self._note_return())
            # The recorder and the socket hold on to the frame's memory for as long as they need it.
            out = np.empty(self._format.shape, self._format.dtype)

    def _may_go_on(self, pacing: InferencePacing, recorder: Recorder) -> bool:
        """Whether a camera that can wait need not wait, for inference or the encoder."""
        if recorder.half_full:
            self._stopping.wait(AWAY_S)
            return False
        return pacing.wait(self.captured, READ_S)

    def _note_lag(self, lag: EncoderLag, waiting_ms: int) -> None:
        if text := lag.look(monotonic_ns(), waiting_ms):
            level: Literal["info", "warning"] = "warning" if lag.behind else "info"
            text = f"camera {self._info.camera}: the encoder {text}"
            self._announcer.tell(level, "encoder-behind", text, waiting_ms=waiting_ms)

    def _lose(self, error: CameraError) -> None:
        if self._outage is not None:
            self._outage.lost_again(error)
            return
        self._outage = Outage(self._camera, self._format, error, self._reconnect_s)
        self.disconnects += 1
        name = self._info.camera
        trying = f"trying to reconnect for {self._reconnect_s:g} s"
        text = f"camera {name} was lost before frame {self.captured}; {trying}: {error}"
        self._announcer.tell("warning", "disconnected", text, seq=self.captured)

    def _found(self, outage: Outage) -> bool:
        found = outage.find()
        if found is not None:
            self.stamps.begin_anew(found)
            self._quiet_ns, self._silent = monotonic_ns(), False
        return outage.open

    def _note_silence(self) -> None:
        if not self._silent and monotonic_ns() - self._quiet_ns > self._silent_ns:
            self._silent = True
            self.silences += 1
            text = f"camera {self._info.camera} has delivered nothing for {self._silent_ns / 1e9:g} s"
            self._announcer.tell("warning", "silent", text)

    def _note_return(self) -> str:
        """Say that the camera delivers again, where it had not; gives what is to be noted of its frame."""
        now, name, note = monotonic_ns(), self._info.camera, ""
        gap_ns = now - self._heard_ns
        if self._outage is not None:
            self._outage = None
            self.gap_ns += gap_ns
            note = Note.RECONNECTED.text(gap_ns / 1e9)
            text = f"camera {name} delivers again after {gap_ns / 1e9:.1f} s, from frame {self.captured} on"
            self._announcer.tell("info", RECONNECTED, text, seq=self.captured, gap_ms=gap_ns // 1_000_000)
        elif self._silent:
            self._announcer.tell("info", "resumed", f"camera {name} delivers again after {gap_ns / 1e9:.1f} s")
        self._heard_ns = self._quiet_ns = now
        self._silent = False
        return note

    def _deliver(self, recorder: Recorder, capture: Capture, pixels: Pixels, note: str) -> None:
        published = pixels if self._eight_bits is None else self._eight_bits.scale(pixels)
        restarts = self.stamps.clock_restarts
        frame = self.stamps.stamp(capture, wall_offset_ns(), note, monotonic_ns())
        kept = recorder.put(frame, pixels if recorder.deep else published)
        recorder.await_row()  # whoever knows a frame's number finds its row, even if we are killed now
        header = FrameHeader(
            session=self._session,
            camera=self._info.camera,
            frame_seq=frame.frame_seq,
            device_id=frame.device_id,
            device_time=frame.capture.device_time,
            captured_ns=frame.captured_ns,
            wall_ns=frame.wall_ns,
            sent_ns=monotonic_ns(),
            height=self._format.height,
            width=self._format.width,
            pixel_format=self._format.pixel_format,
            truth=capture.truth,
        )
        self._publisher.send(encode_frame(header, published))
        self.captured += 1
        self._tell_losses(frame, kept, clock_restarted=self.stamps.clock_restarts > restarts)
        if not self._rate_told and self.stamps.measured_s >= RATE_S:
            self._judge_rate()

    def _tell_losses(self, frame: Stamped, kept: bool, *, clock_restarted: bool) -> None:
        name, frame_seq = self._info.camera, frame.frame_seq
        self._tell_lost(frame.losses)
        if frame.found:
            self.lost_camera -= 1
            text = f"camera {name}: frame {frame_seq} came after it was counted as lost"
            self._announcer.tell("info", FOUND, text, seq=frame_seq)
        if clock_restarted:
            self._announcer.tell(
                "warning", "device-clock", f"camera {name}, frame {frame_seq}: {frame.note}", seq=frame_seq
            )
        elif frame.id_note:
            self._announcer.tell(
                "warning", "device-id", f"camera {name}, frame {frame_seq}: {frame.id_note}", seq=frame_seq
            )
        if not kept:
            self._no_room += 1
            self._last_lost_seq = frame_seq
        if monotonic_ns() - self._told_queue_ns > LOST_QUEUE_NS:
            self._tell_queue()

    def _tell_lost(self, losses: Iterable[Loss]) -> None:
        for lost in losses:
            self.lost_camera += lost.count
            why = f": {lost.why}" if lost.why else ""
            text = f"camera {self._info.camera} lost {lost.count} frames before frame {lost.frame_seq}{why}"
            ids = {"first_id": lost.first_id, "last_id": lost.last_id}
            self._announcer.tell("warning", FrameState.LOST_CAMERA.value, text, count=lost.count, **ids)

    def _tell_queue(self) -> None:
        lost = self.lost_queue
        count = lost - self._told_queue
        if count and self._recorder is not None:
            self._told_queue, self._told_queue_ns = lost, monotonic_ns()
            self._last_lost_seq = max(self._last_lost_seq, self._recorder.last_dropped)
            text = (
                f"camera {self._info.camera}: the encoder can't keep up; {count} frames are lost to the video, "
                f"the last of them frame {self._last_lost_seq}"
            )
            self._announcer.tell("warning", FrameState.LOST_QUEUE.value, text, seq=self._last_lost_seq, count=count)

    def note_refused(self, count: int) -> None:
        """Note the frames that the encoder or the disk refused; the stream has ended, so the supervisor alone hears."""
        if count:
            name = self._info.camera
            text = f"camera {name}: the encoder or the disk refused {count} frames"
            self._announcer.report("error", "encoder-error", text, count=count)

    def _judge_rate(self) -> None:
        self._rate_told = True
        asked, measured = self._format.rate_asked_hz, self.stamps.rate_hz
        if asked and measured and abs(measured / asked - 1) > RATE_TOLERANCE:
            text = f"camera {self._info.camera} gives {measured:.2f} frames a second, asked were {asked:g}"
            self._announcer.tell("warning", "rate", text, asked_hz=asked, measured_hz=round(measured, 3))
