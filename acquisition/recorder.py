"""Records one camera: a thread that writes a row for each frame, and one that encodes it.

A frame gets its row in the frame table when it is delivered, before it goes to the encoder and the socket; what becomes
of it in the encoder is written down as it happens (`packets.csv`), and the two become one table at the end. So whatever
kills the process, every frame has a row.

What waits for the encoder is bounded in bytes and in time. Beyond that the new frame is lost to the video, and the
table says so (`lost-queue`); nothing else ever drops a frame here.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from posestream.acquisition.camera import CameraFormat, Pixels
from posestream.acquisition.encoder import EncodedPacket, EncoderError, VideoWriter
from posestream.acquisition.frame_table import FrameTable, PacketTable
from posestream.acquisition.presentation import PresentationTimes
from posestream.acquisition.stamps import Stamped
from posestream.stream.disk.frame_merge import merge_frame_tables
from posestream.stream.disk.notes import Note, join_notes
from posestream.stream.disk.reserve import DiskReserve
from posestream.stream.disk.tables import FrameState, TableWriter
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.settings import RecordingSettings

__all__ = ["Recorder"]

MAX_ROWS_WAITING = 100_000
"""Rows, about 1 KiB each, that may wait for a disk that has stopped; then the recording is given up."""
STALL_S = 0.1
"""Seconds in which a disk takes a row; one that does not is not waited for until the rows have caught up."""
LOOK_S = 0.02
"""Seconds between two looks at whether it is the disk that a row waits for, or a busy processor."""
PACE_FRAMES = 15
"""Frames by which the paces of camera and encoder are judged: the encoder's by the median, so that a stall, which is
one among them, does not count."""
RESERVE_BYTES = 2**20
"""Held back on the disk for the rows of frames that a full disk refuses: about 10,000 of them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    frame: Stamped
    state: FrameState
    pixels: Pixels | None
    """None: the frame is not for the encoder."""


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
    clock
        Gives nanoseconds; by it the time is measured for which frames wait.

    Raises
    ------
    EncoderError, OSError
        Where the files can't be made.
    """

    def __init__(
        self,
        folder: Path,
        settings: RecordingSettings | None,
        camera: CameraFormat,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self.error: str | None = None
        """Why the recording ended before it was closed; none while all is well."""
        self.longest_queue = 0
        """The most frames that ever waited for the encoder."""
        self.longest_queue_bytes = 0
        """The most bytes of raw frames that ever waited."""
        self.unwritten = 0
        """Frames that have no row, because the recording had been given up."""
        self.dropped = 0
        """Frames that had waited too long for an encoder that is slower than the camera."""
        self.last_dropped = 0
        """The last of them."""
        self.merged = 0
        """Rows of the frame table that were done with, while it is closed."""
        self._folder, self._clock = folder, clock
        self._reserve = DiskReserve(folder, RESERVE_BYTES)
        self._table, self._packets = FrameTable(folder), PacketTable(folder)
        self._truth = (
            TableWriter(folder / "truth.csv", ("seq", *(f"{n}_{axis}" for n in camera.truth_names for axis in "xy")))
            if camera.truth_names
            else None
        )
        self._settings = settings
        self._video: VideoWriter | None = None
        if settings is not None:
            self._video = VideoWriter(folder / f"video.{settings.container}", settings, camera)
        self._lock = threading.Lock()
        self._rows: SimpleQueue[_Entry | None] = SimpleQueue()
        self._rows_put = self._rows_written = 0
        self._row_written = threading.Event()
        self._writing_since_ns: int | None = None  # a row, which the disk has not taken yet
        self._stalled = False
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._waiting: deque[int] = deque()  # since when each frame waits for the encoder
        self._waiting_bytes = 0
        self._paces_ns: deque[int] = deque(maxlen=PACE_FRAMES)  # what the last frames took
        self._pace_ns = 0
        self._puts_ns: deque[int] = deque(maxlen=PACE_FRAMES)  # when the last frames came
        self._closing = False
        self._in_encoder: deque[tuple[int, int, str]] = deque()
        self._times = PresentationTimes(self._video.tick_us if self._video is not None else 1)
        self._threads = [
            threading.Thread(target=self._write_rows, name="rows"),
            threading.Thread(target=self._encode_frames, name="recorder"),
        ]
        for thread in self._threads:
            thread.start()

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
            False where there was no room or no time for it: it will not be in the video, and the table says so.
        """
        with self._lock:
            if self._rows_put - self._rows_written >= MAX_ROWS_WAITING:
                self.unwritten += 1
                self._fail(RuntimeError(f"the disk stands still, {MAX_ROWS_WAITING} rows wait for it"))
                return False
            now_ns = self._clock()
            self._puts_ns.append(now_ns)
            state = self._fate(pixels.nbytes, now_ns)
            if state is FrameState.DELIVERED:
                self._waiting.append(now_ns)
                self._waiting_bytes += pixels.nbytes
                self.longest_queue = max(self.longest_queue, len(self._waiting))
                self.longest_queue_bytes = max(self.longest_queue_bytes, self._waiting_bytes)
            self._rows_put += 1
            self._row_written.clear()
        self._rows.put(_Entry(frame, state, pixels if state is FrameState.DELIVERED else None))
        return state is not FrameState.LOST_QUEUE

    def _fate(self, size_bytes: int, now_ns: int) -> FrameState:
        if self._settings is None:
            return FrameState.NOT_RECORDED
        if self.error is not None:
            return FrameState.ENCODER_ERROR
        full = self._waiting_bytes + size_bytes > self._settings.queue_bytes
        waits_ns = max(now_ns - self._waiting[0], len(self._waiting) * self._pace_ns) if self._waiting else 0
        late = waits_ns > self._settings.queue_s * 1e9  # by what has waited longest, or by what waits before it
        return FrameState.LOST_QUEUE if full or late else FrameState.DELIVERED

    def _is_hopeless(self, since_ns: int) -> bool:
        """Whether a frame has waited too long for an encoder that is slower than the camera and can't catch up."""
        settings, puts_ns = self._settings, self._puts_ns
        if settings is None or self._closing or self._clock() - since_ns <= settings.queue_s * 1e9:
            return False
        return self._pace_ns * (len(puts_ns) - 1) > puts_ns[-1] - puts_ns[0]

    def end_of_stream(self) -> None:
        """No frame follows: what still waits is encoded, however long that takes."""
        with self._lock:
            self._closing = True

    def await_row(self) -> bool:
        """Wait until the last frame has its row, so that no number is published without one; gives whether it has.

        However busy the processor is, rows are waited for. A disk that takes no row for `STALL_S` is not: frames go out
        without theirs until the rows have caught up.
        """
        while not self._row_written.wait(0 if self._stalled else LOOK_S):
            since_ns = self._writing_since_ns
            self._stalled = self._stalled or (since_ns is not None and monotonic_ns() - since_ns > STALL_S * 1e9)
            if self._stalled or self.error is not None or not self._threads[0].is_alive():
                return False
        self._stalled = False
        return True

    @property
    def deep(self) -> bool:
        """Whether it takes the camera's own values of more than 8 bits, not frames scaled to 8 bits."""
        return self._video is not None and self._video.deep

    @property
    def limit_s(self) -> float:
        """Seconds for which a frame may wait for the encoder before new ones are lost."""
        return self._settings.queue_s if self._settings is not None else 0.0

    @property
    def states(self) -> dict[str, int]:
        """Rows of the table so far, by state."""
        settled = self._packets.states
        states = self._table.states + settled
        states[FrameState.DELIVERED] -= settled.total()
        return {state.value: states[state] for state in FrameState if states[state]}

    @property
    def waiting(self) -> int:
        """Frames that wait for the encoder now."""
        return len(self._waiting)

    @property
    def waiting_ms(self) -> int:
        """Milliseconds for which the oldest of them waits."""
        try:
            return (self._clock() - self._waiting[0]) // 1_000_000
        except IndexError:
            return 0

    @property
    def half_full(self) -> bool:
        """Whether half of the bytes or of the time that frames may wait are used; a camera that can wait should."""
        settings = self._settings
        return settings is not None and (
            2 * self._waiting_bytes > settings.queue_bytes or 2 * self.waiting_ms > 1e3 * settings.queue_s
        )

    @property
    def video_bytes(self) -> int:
        """Size of the video file."""
        return self._video.size_bytes if self._video is not None else 0

    @property
    def owed_bytes(self) -> int:
        """What the frames that wait will take in the file, judged by those that are in it."""
        recorded = self._packets.states[FrameState.RECORDED]
        return self.waiting * self.video_bytes // recorded if recorded else self._waiting_bytes

    def sync(self) -> None:
        """Bring video and tables to the disk; for another thread, so that a slow disk does not hold the encoder."""
        if self._video is not None:
            self._video.sync()
        for table in self._tables:
            table.sync()

    @property
    def _tables(self) -> list[FrameTable | PacketTable | TableWriter]:
        return [self._table, self._packets, *([self._truth] if self._truth is not None else [])]

    def close(self) -> None:
        """Encode what waits, close the files, end the threads and make one table of two; safe to call twice.

        `error` says whether all went well, and `merged` how far the last step is.
        """
        threads, self._threads = self._threads, []
        if not threads:
            return
        self.end_of_stream()
        self._rows.put(None)
        for thread in threads:
            thread.join()
        try:
            for table in self._tables:
                table.close()
            merge_frame_tables(self._folder, self._note_merged)
        except (OSError, ValueError) as error:
            self._fail(error)
        self._reserve.release()

    def _note_merged(self, rows: int) -> None:
        self.merged = rows

    def _write_rows(self) -> None:
        while (entry := self._rows.get()) is not None:
            self._writing_since_ns = monotonic_ns()
            try:
                self._table.delivered(entry.frame, entry.state)
                truth = entry.frame.capture.truth
                if self._truth is not None and truth is not None:
                    self._truth.append((entry.frame.frame_seq, *(f"{value:.3f}" for point in truth for value in point)))
            except OSError as error:
                self._fail(error)
            if self._table.error is not None:
                self._fail(self._table.error)
            self._writing_since_ns = None
            with self._lock:
                self._rows_written += 1
                if self._rows_written == self._rows_put:
                    self._row_written.set()
            if entry.pixels is not None:
                self._queue.put(entry)
        self._queue.put(None)

    def _encode_frames(self) -> None:
        while (entry := self._queue.get()) is not None:
            if entry.pixels is None or self._video is None:
                continue
            with self._lock:
                since_ns = self._waiting.popleft()
                self._waiting_bytes -= entry.pixels.nbytes
                if hopeless := self._is_hopeless(since_ns):
                    self.dropped, self.last_dropped = self.dropped + 1, entry.frame.frame_seq
            if hopeless:
                self._packets.lost(entry.frame.frame_seq, FrameState.LOST_QUEUE)
            elif self.error is None:
                began_ns = self._clock()
                self._encode(self._video, entry.frame, entry.pixels)
                self._paces_ns.append(self._clock() - began_ns)
                self._pace_ns = sorted(self._paces_ns)[len(self._paces_ns) // 2]
            else:
                self._packets.lost(entry.frame.frame_seq, FrameState.ENCODER_ERROR)
        try:
            if self._video is not None:
                self._settle(self._video.close())
        except (EncoderError, OSError) as error:
            self._fail(error)
        self._refuse_rest()

    def _encode(self, video: VideoWriter, frame: Stamped, pixels: Pixels) -> None:
        own_ns = frame.capture.presentation_ns
        pts_us, note = self._times.next(frame.captured_ns if own_ns is None else own_ns)
        self._in_encoder.append((frame.frame_seq, pts_us, note))
        try:
            self._settle(video.write(pixels, pts_us))
        except Exception as error:  # noqa: BLE001 - an encoder's, or the disk's; the process says it and ends
            self._fail(error)
            self._refuse_rest()
        if self._packets.error is not None:
            self._fail(self._packets.error)

    def _refuse_rest(self) -> None:
        while self._in_encoder:
            self._packets.lost(self._in_encoder.popleft()[0], FrameState.ENCODER_ERROR)

    def _settle(self, in_file: list[EncodedPacket]) -> None:
        for packet in in_file:
            frame_seq, pts_us, note = self._in_encoder.popleft()
            if packet.pts_us != pts_us:
                note = join_notes((note, Note.ENCODER_TIME.text(packet.pts_us)))
            self._packets.recorded(frame_seq, pts_us, packet.crc32, note)

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = str(error)
            self._reserve.release()
