"""USB video class cameras, and whatever else OpenCV's `VideoCapture` opens.

Such a camera gives neither frame numbers nor times of its own, so a frame that it loses is not seen here, and the
exposure is known only as the moment when the frame arrived. A lab that needs more takes an industrial camera.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.camera import CameraError, CameraFormat, CameraSettings, Capture, EndOfStream
from posestream.stream.wire.clock import monotonic_ns

__all__ = ["UvcCamera", "UvcSettings"]

Side = Annotated[int, Meta(ge=1, le=65_535)]

DRIVER_BUFFERS = 8
"""The most frames that a driver is thought to hold."""
FRESH_NS = 2_000_000
"""A grab that takes longer than this, nanoseconds, waited for a frame that was not in the driver's buffers."""


class UvcSettings(CameraSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the OpenCV camera; what is not given stays as the camera has it."""

    device: int | str = 0
    """Number of the camera, a device file such as `/dev/video0`, or another source that OpenCV opens."""
    width: Side | None = None
    """Columns of a frame."""
    height: Side | None = None
    """Rows of a frame."""
    rate_hz: Annotated[float, Meta(gt=0)] | None = None
    """Frames a second; a camera may take another."""
    pixel_format: Literal["gray8", "bgr24"] = "bgr24"
    """How a pixel lies in memory."""
    fourcc: Annotated[str, Meta(min_length=4, max_length=4)] | None = None
    """How the camera sends its frames, such as `MJPG` or `YUYV`: high rates over USB 2 need `MJPG`."""


class UvcCamera:
    """The camera backend `opencv`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    """

    Settings = UvcSettings

    def __init__(self, settings: UvcSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        self._settings = settings
        self._clock = clock
        self._capture: cv2.VideoCapture | None = None
        self._image: NDArray[np.uint8] | None = None
        self._is_file = False
        self._started = False

    def open(self) -> CameraFormat:
        """Open the camera, set what is asked and read back what it took.

        Returns
        -------
        CameraFormat
            `rate_hz` is the camera's own figure, none where it does not say; a rate other than asked stands in
            `description`.

        Raises
        ------
        CameraError
            Where there is no such camera, or it takes another frame size than asked.
        """
        options = self._settings
        with _quiet():
            # CAP_ANY tries V4L2 on Linux, AVFoundation on macOS, Media Foundation and DirectShow on Windows
            self._capture = cv2.VideoCapture(options.device, cv2.CAP_ANY)
            if not self._capture.isOpened():
                self.stop()
                raise CameraError(f"{self._name}: there is no such camera, it is in use, or this user may not open it")
            # The coding first: what sizes and rates there are depends on it
            if options.fourcc is not None:
                self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
            for key, value in (
                (cv2.CAP_PROP_FRAME_WIDTH, options.width),
                (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
                (cv2.CAP_PROP_FPS, options.rate_hz),
            ):
                if value is not None:
                    self._capture.set(key, value)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 4)
            self._is_file = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
            width = round(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
            backend = self._capture.getBackendName()
        asked = (options.width or width, options.height or height)
        if asked != (width, height) or width <= 0 or height <= 0:
            self.stop()
            raise CameraError(f"{self._name}: was asked for {asked[0]}x{asked[1]} pixels and gives {width}x{height}")
        description = f"{self._name} by {backend}"
        if options.rate_hz is not None and abs(rate_hz - options.rate_hz) > 0.01 * options.rate_hz:
            description += f", asked for {options.rate_hz:g} frames/s and set to {rate_hz:g}"
        return CameraFormat(
            height=height,
            width=width,
            pixel_format=options.pixel_format,
            rate_hz=rate_hz if rate_hz > 0 else None,
            reconnects=not self._is_file,
            description=description,
        )

    def start(self) -> None:
        """Begin to deliver; OpenCV's cameras have run since `open`, so what the driver still holds is thrown away.

        Raises
        ------
        CameraError
            Where it is not open.
        """
        if self._capture is None:
            raise CameraError(f"{self._name}: was started before it was opened")
        for _ in range(0 if self._is_file else DRIVER_BUFFERS):
            began = self._clock()
            self._capture.grab()
            if self._clock() - began > FRESH_NS:  # it had to be waited for: the buffers are empty
                break
        self._started = True

    def read(self, out: NDArray[np.uint8], timeout_s: float) -> Capture | None:  # noqa: ARG002
        """Wait for the next frame and put it into `out`.

        Parameters
        ----------
        out
            (height, width, channels) uint8, contiguous.
        timeout_s
            Not used: OpenCV waits for as long as its backend does, 10 s on Linux, and can't be told otherwise.

        Returns
        -------
        Capture
            `captured_ns` is when the frame had arrived, before it was decoded.

        Raises
        ------
        EndOfStream
            Where the source is a video that has ended.
        CameraError
            Where the camera gave no frame, or one of another size.
        """
        if self._capture is None or not self._started:
            raise CameraError(f"{self._name}: was read before it was started")
        with _quiet():
            grabbed = self._capture.grab()
            captured_ns = self._clock()
            taken = grabbed and self._retrieve(self._capture, out)
        if not taken:
            if self._is_file:
                raise EndOfStream
            raise CameraError(f"{self._name}: lost; it gives no more frames. Was it unplugged?")
        return Capture(captured_ns=captured_ns)

    def stop(self) -> None:
        """Let go of the camera."""
        self._started = False
        self._image = None
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _retrieve(self, capture: cv2.VideoCapture, out: NDArray[np.uint8]) -> bool:
        """Decode the grabbed frame; OpenCV writes into the array that it is given where the shape fits."""
        gray = self._settings.pixel_format == "gray8"
        taken, image = capture.retrieve(self._image if gray else out)
        if not taken:
            return False
        if image.shape[:2] != out.shape[:2]:
            raise CameraError(
                f"{self._name}: gave a frame of {image.shape[1]}x{image.shape[0]} pixels, "
                f"not {out.shape[1]}x{out.shape[0]}"
            )
        colour = image.ndim == 3 and image.shape[2] == 3
        if gray and colour:
            self._image = np.asarray(image, np.uint8)
            cv2.cvtColor(image, cv2.COLOR_BGR2GRAY, out)
        elif gray:
            np.copyto(out, image.reshape(out.shape))
        elif not colour:
            cv2.cvtColor(image, cv2.COLOR_GRAY2BGR, out)
        elif image is not out:
            np.copyto(out, image)
        return True

    @property
    def _name(self) -> str:
        device = self._settings.device
        return f"camera {device}" if isinstance(device, int) else device


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's own lines off the terminal: what went wrong is said in our errors."""
    # Read by OpenCV's FFmpeg once, when first used; -8 is its "quiet"
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
