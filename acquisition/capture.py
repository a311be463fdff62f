"""The capture thread: from the camera to the recorder's queue and to the socket, waiting for neither."""

import threading
from collections import deque
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.camera import Camera, CameraFormat, Capture, EndOfStream
from posestream.acquisition.frame_table import DeviceIds
from posestream.acquisition.pace import PoseFollower
from posestream.acquisition.recorder import Recorder
from posestream.stream.wire.clock import clock_name, monotonic_ns, wall_ns
from posestream.stream.wire.messages import (
    END,
    Event,
    FrameHeader,
    Hello,
    StreamInfo,
    encode_event,
    encode_frame,
    encode_hello,
)
from posestream.stream.wire.sockets import Publisher

__all__ = ["CaptureThread"]

READ_S = 0.1
"""Seconds that the camera may be waited for at a time, so that the thread hears of a stop."""
HELLO_NS = 1_000_000_000
LOST_QUEUE_NS = 1_000_000_000
"""Nanoseconds between two events about frames that the recorder had no room for."""


class CaptureThread:
    """Greets readers from the beginning; reads the camera from `begin` until `end`.

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
    """

    def __init__(
        self,
        camera: Camera,
        camera_format: CameraFormat,
        publisher: Publisher,
        info: StreamInfo,
        session: str,
        silent_s: float,
    ) -> None:
        self._camera, self._format, self._publisher = camera, camera_format, publisher
        self._info, self._session, self._silent_ns = info, session, round(silent_s * 1e9)
        self._recorder: Recorder | None = None
        self._follower: PoseFollower | None = None
        self._begun, self._stopping = threading.Event(), threading.Event()
        self._ids = DeviceIds()
        self._greeted_ns = 0
        self._told_queue, self._told_queue_ns = 0, 0
        self.error: Exception | None = None
        """What ended the capture early."""
        self.ended = False
        """Whether the camera has no more frames."""
        self.events: deque[Event] = deque()
        """What happened; whoever reads it takes it out."""
        self.captured = 0
        """Frames that the camera delivered."""
        self.lost_camera = 0
        """Frames that the device numbered and did not deliver."""
        self.lost_queue = self._last_lost_seq = 0
        """Frames for which the recorder had no room."""
        self.silences = 0
        """Times that the camera fell silent."""
        self.first_ns = self.last_ns = 0
        """Exposure of the first and the last frame."""
        self._thread = threading.Thread(target=self._run, name="capture")
        self._thread.start()

    def begin(self, recorder: Recorder, follower: PoseFollower | None) -> None:
        """Start the camera; frames go to the recorder, at the pace of the follower where there is one."""
        self._recorder, self._follower = recorder, follower
        self._begun.set()

    def end(self) -> None:
        """Stop the camera and end the thread."""
        self._stopping.set()
        self._thread.join()

    @property
    def malformed(self) -> int:
        """Messages of the pose stream dropped because the protocol does not allow them."""
        return self._follower.malformed if self._follower is not None else 0

    def _run(self) -> None:
        try:
            while not self._begun.wait(0.02):
                self._greet()
                if self._stopping.is_set():
                    return
            if self._recorder is not None:
                self._camera.start()
                self._capture(self._recorder)
        except EndOfStream:
            self.ended = True
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self.error = error
        finally:
            self._camera.stop()
            self._tell_queue()
            self._tell("info", END, f"camera {self._info.camera} ended", frames=self.captured)
            if self._follower is not None:
                self._follower.close()

    def _capture(self, recorder: Recorder) -> None:
        name = self._info.camera
        heard_ns, silent = monotonic_ns(), False
        out = np.empty(self._format.shape, np.uint8)
        while not self._stopping.is_set():
            self._greet()
            if self._follower is not None and not self._follower.wait(self.captured, READ_S):
                continue
            capture = self._camera.read(out, READ_S)
            now = monotonic_ns()
            if capture is None:
                if not silent and now - heard_ns > self._silent_ns:
                    silent = True
                    self.silences += 1
                    self._tell(
                        "warning", "silent", f"camera {name} has delivered nothing for {self._silent_ns / 1e9:g} s"
                    )
                continue
            if silent:
                self._tell("info", "resumed", f"camera {name} delivers again after {(now - heard_ns) / 1e9:.1f} s")
            heard_ns, silent = now, False
            self._deliver(recorder, capture, out)
            # The recorder and the socket hold on to the frame's memory for as long as they need it.
            out = np.empty(self._format.shape, np.uint8)

    def _deliver(self, recorder: Recorder, capture: Capture, pixels: NDArray[np.uint8]) -> None:
        seq = self.captured
        frame_wall_ns = wall_ns() - (monotonic_ns() - capture.captured_ns)
        seen = self._ids.see(capture.device_id)
        kept = recorder.put(seq, capture, frame_wall_ns, seen, pixels)
        header = FrameHeader(
            session=self._session,
            camera=self._info.camera,
            seq=seq,
            device_id=capture.device_id,
            device_time=capture.device_time,
            captured_ns=capture.captured_ns,
            wall_ns=frame_wall_ns,
            sent_ns=monotonic_ns(),
            height=self._format.height,
            width=self._format.width,
            pixel_format=self._format.pixel_format,
            truth=capture.truth,
        )
        self._publisher.send(encode_frame(header, pixels))
        self.first_ns = capture.captured_ns if seq == 0 else self.first_ns
        self.last_ns = capture.captured_ns
        self.captured += 1
        self._tell_losses(seq, kept, seen.lost, seen.note)

    def _tell_losses(self, seq: int, kept: bool, lost: range, note: str) -> None:
        name = self._info.camera
        if lost:
            self.lost_camera += len(lost)
            text = f"camera {name} lost {len(lost)} frames before frame {seq}"
            self._tell("warning", "lost-camera", text, count=len(lost), first_id=lost[0], last_id=lost[-1])
        elif note:
            self._tell("warning", "device-id", f"camera {name}, frame {seq}: {note}", seq=seq)
        if not kept:
            self.lost_queue += 1
            self._last_lost_seq = seq
        if monotonic_ns() - self._told_queue_ns > LOST_QUEUE_NS:
            self._tell_queue()

    def _tell_queue(self) -> None:
        count = self.lost_queue - self._told_queue
        if count:
            self._told_queue, self._told_queue_ns = self.lost_queue, monotonic_ns()
            text = (
                f"camera {self._info.camera}: the encoder can't keep up; {count} frames are lost to the video, "
                f"the last of them frame {self._last_lost_seq}"
            )
            self._tell("warning", "lost-queue", text, seq=self._last_lost_seq, count=count)

    def note_refused(self, count: int) -> None:
        """Note the frames that the encoder or the disk refused; the stream has ended, so the supervisor alone hears."""
        if count:
            name = self._info.camera
            text = f"camera {name}: the encoder or the disk refused {count} frames"
            self.events.append(self._event("error", "encoder-error", text, {"count": count}))

    def _greet(self) -> None:
        now = monotonic_ns()
        if self._publisher.new_subscriptions() or now - self._greeted_ns > HELLO_NS:
            self._greeted_ns = now
            hello = Hello(
                session=self._session,
                source=self._info.camera,
                role="frames",
                clock=clock_name(),
                streams=(self._info,),
            )
            self._publisher.send(encode_hello(hello))

    def _tell(self, level: Literal["info", "warning"], name: str, text: str, **data: int) -> None:
        event = self._event(level, name, text, data)
        self._publisher.send(encode_event(event))
        self.events.append(event)

    def _event(self, level: Literal["info", "warning", "error"], name: str, text: str, data: dict[str, int]) -> Event:
        return Event(
            session=self._session,
            source=self._info.camera,
            time_ns=monotonic_ns(),
            wall_ns=wall_ns(),
            level=level,
            name=name,
            text=text,
            data=dict(data),
        )
