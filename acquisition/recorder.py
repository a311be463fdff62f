"""The recorder thread: takes frames from the capture thread, encodes them, and keeps the frame table.

Frames wait in a queue that is bounded in bytes. When it is full the new frame is lost to the video, and the table
says so (`lost-queue`); nothing else ever drops a frame here. Rows are written in the order of capture, each as soon
as its fate is known.
"""

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from posestream.acquisition.camera import CameraFormat, Pixels
from posestream.acquisition.encoder import EncoderError, VideoWriter
from posestream.acquisition.frame_table import FrameTable
from posestream.acquisition.presentation import PresentationTimes
from posestream.acquisition.stamps import Stamped
from posestream.stream.wire.jobs import RecordingSettings
from posestream.stream.wire.reserve import DiskReserve
from posestream.stream.wire.tables import FrameState, TableWriter

__all__ = ["Recorder"]

MAX_LOST_WAITING = 100_000
"""Rows of lost frames, about 1 KiB each, that may wait behind an encoder that has stopped; then it is given up."""
RESERVE_BYTES = 2**20
"""Held back on the disk for the rows of frames that a full disk refuses: about 10,000 of them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    frame: Stamped
    pixels: Pixels | None
    """None: the queue was full."""


class Recorder:
    """Records one camera.

    Parameters
    ----------
    folder
        Where `video.*` and `frames.csv` (and `truth.csv`, of a simulation) are made.
    settings
        How to compress; None keeps the table alone.
    camera
        Format of the frames.

    Raises
    ------
    EncoderError, OSError
        Where the files can't be made.
    """

    def __init__(self, folder: Path, settings: RecordingSettings | None, camera: CameraFormat) -> None:
        self.error: str | None = None
        """Why the recording ended before it was closed; none while all is well."""
        self.longest_queue = 0
        """The most frames that ever waited, lost ones included."""
        self.longest_queue_bytes = 0
        """The most bytes of raw frames that ever waited."""
        self.unwritten = 0
        """Frames that have no row, because the recording had been given up."""
        self._reserve = DiskReserve(folder, RESERVE_BYTES)
        self._table = FrameTable(folder / "frames.csv")
        self._truth = (
            TableWriter(folder / "truth.csv", ("seq", *(f"{n}_{axis}" for n in camera.truth_names for axis in "xy")))
            if camera.truth_names
            else None
        )
        self._video: VideoWriter | None = None
        self._limit = 0
        if settings is not None:
            path = folder / f"video.{settings.container}"
            self._video = VideoWriter(path, settings, camera)
            self._limit = settings.queue_bytes
        self._queue: deque[_Entry | None] = deque()
        self._waiting_bytes = 0
        self._waiting_lost = 0
        self._changed = threading.Condition()
        self._in_encoder: deque[tuple[Stamped, int, str]] = deque()
        self._times = PresentationTimes()
        self._thread = threading.Thread(target=self._run, name="recorder")
        self._thread.start()

    def put(self, frame: Stamped, pixels: Pixels) -> bool:
        """Hand over a frame; never waits.

        Parameters
        ----------
        frame
            Its numbers and times.
        pixels
            (height, width, channels), uint16 where `deep`, else uint8; must not change any more.

        Returns
        -------
        bool
            False where the queue was full: the frame will not be in the video, and the table says so.
        """
        with self._changed:
            room = self._video is None or self._waiting_bytes + pixels.nbytes <= self._limit
            if self._waiting_lost >= MAX_LOST_WAITING:
                self.unwritten += 1
                self._fail(RuntimeError(f"the encoder or the disk stands still, {MAX_LOST_WAITING} frames were lost"))
                return False
            kept = pixels if room and self._video is not None else None
            self._queue.append(_Entry(frame, kept))
            if kept is not None:
                self._waiting_bytes += kept.nbytes
            else:
                self._waiting_lost += 1
            self.longest_queue = max(self.longest_queue, len(self._queue))
            self.longest_queue_bytes = max(self.longest_queue_bytes, self._waiting_bytes)
            self._changed.notify()
        return room

    @property
    def deep(self) -> bool:
        """Whether it takes the camera's own values of more than 8 bits, not frames scaled to 8 bits."""
        return self._video is not None and self._video.deep

    @property
    def states(self) -> dict[str, int]:
        """Rows of the table so far, by state."""
        return {state.value: self._table.states[state] for state in FrameState if self._table.states[state]}

    @property
    def waiting(self) -> int:
        """Frames that wait for the encoder now."""
        return len(self._queue)

    @property
    def video_bytes(self) -> int:
        """Size of the video file."""
        return self._video.path.stat().st_size if self._video is not None and self._video.path is not None else 0

    @property
    def owed_bytes(self) -> int:
        """What the frames that wait will take in the file, judged by those that are in it."""
        recorded = self._table.states[FrameState.RECORDED]
        frames = self.waiting - self._waiting_lost
        return frames * self.video_bytes // recorded if recorded else self._waiting_bytes

    def sync(self) -> None:
        """Bring video and tables to the disk; for another thread, so that a slow disk does not hold the encoder."""
        if self._video is not None:
            self._video.sync()
        self._table.sync()
        if self._truth is not None:
            self._truth.sync()

    def close(self) -> None:
        """Encode what waits, close the files and end the thread. `error` says whether all went well."""
        with self._changed:
            self._queue.append(None)
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            self._guarded(entry)
        try:
            if self._video is not None:
                self._settle(self._video.close())
        except (EncoderError, OSError) as error:
            self._fail(error)
        self._refused()
        for table in (self._table, self._truth):
            try:
                if table is not None:
                    table.close()
            except OSError as error:
                self._fail(error)
        self._reserve.release()

    def _next(self) -> _Entry | None:
        with self._changed:
            while not self._queue:
                self._changed.wait()
            entry = self._queue.popleft()
            if entry is not None and entry.pixels is not None:
                self._waiting_bytes -= entry.pixels.nbytes
            elif entry is not None:
                self._waiting_lost -= 1
            return entry

    def _guarded(self, entry: _Entry) -> None:
        frame = entry.frame
        self._table.lost_by_camera(frame.lost)
        try:
            if self._video is None:
                self._table.lost(frame, FrameState.NOT_RECORDED)
            elif entry.pixels is None:
                self._table.lost(frame, FrameState.LOST_QUEUE)
            elif self.error is not None:
                self._table.lost(frame, FrameState.ENCODER_ERROR)
            else:
                self._encode(self._video, frame, entry.pixels)
            truth = frame.capture.truth
            if self._truth is not None and truth is not None:
                self._truth.append((frame.seq, *(f"{value:.3f}" for point in truth for value in point)))
        except (EncoderError, OSError) as error:
            self._fail(error)
        if self._table.error is not None:
            self._fail(self._table.error)

    def _encode(self, video: VideoWriter, frame: Stamped, pixels: Pixels) -> None:
        own_ns = frame.capture.presentation_ns
        pts_us, note = self._times.next(frame.captured_ns if own_ns is None else own_ns)
        self._in_encoder.append((frame, pts_us, note))
        try:
            self._settle(video.write(pixels, pts_us))
        except EncoderError as error:
            self._fail(error)
            self._refused()

    def _refused(self) -> None:
        while self._in_encoder:
            self._table.lost(self._in_encoder.popleft()[0], FrameState.ENCODER_ERROR)

    def _settle(self, in_file: list[int]) -> None:
        for pts in in_file:
            frame, pts_us, note = self._in_encoder.popleft()
            if pts != pts_us:
                note = "; ".join(filter(None, (note, f"encoder gave time {pts}")))
            self._table.recorded(frame, pts_us, note)

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = str(error)
            self._reserve.release()
