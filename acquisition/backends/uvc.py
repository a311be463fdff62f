"""USB video class cameras, and whatever else OpenCV's `VideoCapture` opens.

Such a camera gives neither frame numbers nor times of its own, so a frame that it loses is not seen here, and the
exposure is known only as the moment when the frame arrived. A lab that needs more takes an industrial camera.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.backends.vocabulary import DeviceSettings, refuse_others
from posestream.acquisition.camera import CameraError, CameraFormat, Capture, EndOfStream, FoundCamera
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import PixelFormat
from posestream.stream.wire.wording import near

__all__ = ["UvcCamera", "UvcSettings"]

TAKES = ("width", "height", "rate_hz", "pixel_format", "exposure_us", "white_balance", "nodes")
PIXEL_FORMATS: tuple[PixelFormat, ...] = ("bgr24", "gray8")
V4L2_MANUAL, V4L2_AUTO = 1, 3
"""Video4Linux's menu of automatic exposure."""
V4L2_EXPOSURE_US = 100
"""Microseconds of a step of Video4Linux's exposure."""
DRIVER_BUFFERS = 8
"""The most frames that a driver is thought to hold."""
FRESH_NS = 2_000_000
"""A grab that takes longer than this, nanoseconds, waited for a frame that was not in the driver's buffers."""


class UvcSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the OpenCV camera; `nodes` are OpenCV's properties, such as `CAP_PROP_GAIN` or `GAIN`."""

    device: int | str = 0
    """Number of the camera, a device file such as `/dev/video0`, or another source that OpenCV opens."""
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

    @staticmethod
    def find() -> list[FoundCamera]:
        """List Video4Linux's cameras; OpenCV itself can't say what is there.

        Raises
        ------
        CameraError
            On other systems.
        """
        if sys.platform != "linux":
            raise CameraError("OpenCV can't list cameras on this system; try device = 0, 1 ... (backend av lists them)")
        found = []
        for entry in sorted(Path("/sys/class/video4linux").glob("video*")):
            if _line(entry / "index") not in ("", "0"):  # a camera's further nodes give no pictures
                continue
            serial = _line(entry / "device" / ".." / "serial") or entry.name
            options = {"device": f"/dev/{entry.name}"}
            found.append(FoundCamera(description=_line(entry / "name") or entry.name, serial=serial, options=options))
        return found

    def open(self) -> CameraFormat:
        """Open the camera, set what is asked and read back what it took.

        Returns
        -------
        CameraFormat
            `rate_hz` is the camera's own figure, none where it does not say.

        Raises
        ------
        CameraError
            Where there is no such camera, or it can't do what was asked.
        """
        options = self._settings
        refuse_others(options, TAKES, self._name)
        pixel_format = next((known for known in PIXEL_FORMATS if options.pixel_format in (None, known)), None)
        if pixel_format is None:
            raise CameraError(
                f"{self._name}: has no pixel_format {options.pixel_format!r}; OpenCV gives {', '.join(PIXEL_FORMATS)}"
            )
        with _quiet():
            # CAP_ANY tries V4L2 on Linux, AVFoundation on macOS, Media Foundation and DirectShow on Windows
            self._capture = cv2.VideoCapture(options.device, cv2.CAP_ANY)
            try:
                if not self._capture.isOpened():
                    raise CameraError(
                        f"{self._name}: there is no such camera, it is in use, or this user may not open it"
                    )
                return self._set_up(self._capture, pixel_format)
            except CameraError:
                self.stop()
                raise

    def _set_up(self, capture: cv2.VideoCapture, pixel_format: PixelFormat) -> CameraFormat:
        options, backend = self._settings, capture.getBackendName()
        # The coding first: what sizes and rates there are depends on it
        if options.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, options.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
            (cv2.CAP_PROP_FPS, options.rate_hz),
        ):
            if value is not None:
                capture.set(key, value)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 4)
        self._is_file = capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        width = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        asked = (options.width or width, options.height or height)
        if asked != (width, height) or width <= 0 or height <= 0:
            raise CameraError(f"{self._name}: was asked for {asked[0]}x{asked[1]} pixels and gives {width}x{height}")
        took: dict[str, bool | int | float | str] = {"width": width, "height": height, "pixel_format": pixel_format}
        took |= self._set_light(capture, backend) | self._set_nodes(capture)
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        if rate_hz > 0:
            took["rate_hz"] = rate_hz
        return CameraFormat(
            height=height,
            width=width,
            pixel_format=pixel_format,
            rate_hz=rate_hz if rate_hz > 0 else None,
            reconnects=not self._is_file,
            description=f"{self._name} by {backend}",
            settings=took,
            warnings=tuple(self._differences(took)),
        )

    def _set_light(self, capture: cv2.VideoCapture, backend: str) -> dict[str, bool | int | float | str]:
        exposure, white = self._settings.exposure_us, self._settings.white_balance
        took: dict[str, bool | int | float | str] = {}
        if exposure is not None:
            if backend != "V4L2":
                raise CameraError(
                    f"{self._name}: can't set exposure_us by {backend}, whose exposure is not in microseconds; "
                    "nodes = { AUTO_EXPOSURE = ..., EXPOSURE = ... } sets its own numbers"
                )
            automatic = exposure == "auto"
            self._set(capture, "AUTO_EXPOSURE", V4L2_AUTO if automatic else V4L2_MANUAL, "exposure_us")
            if not isinstance(exposure, str):
                self._set(capture, "EXPOSURE", round(exposure / V4L2_EXPOSURE_US), "exposure_us")
            took["exposure_us"] = "auto" if automatic else capture.get(cv2.CAP_PROP_EXPOSURE) * V4L2_EXPOSURE_US
        if white is not None:
            if white != "auto":
                raise CameraError(f'{self._name}: has no factors for white_balance; it takes "auto"')
            self._set(capture, "AUTO_WB", 1, "white_balance")
            took["white_balance"] = "auto"
        return took

    def _set_nodes(self, capture: cv2.VideoCapture) -> dict[str, bool | int | float | str]:
        took: dict[str, bool | int | float | str] = {}
        for node, value in self._settings.nodes.items():
            if isinstance(value, str):
                raise CameraError(f"{self._name}: nodes.{node} = {value!r}: OpenCV's properties are numbers")
            took[node] = self._set(capture, node.upper().removeprefix("CAP_PROP_"), float(value), f"nodes.{node}")
        return took

    def _set(self, capture: cv2.VideoCapture, name: str, value: float, setting: str) -> float:
        known = [key.removeprefix("CAP_PROP_") for key in dir(cv2) if key.startswith("CAP_PROP_")]
        if name not in known:
            raise CameraError(f"{self._name}: {setting}: OpenCV has no property CAP_PROP_{name}{near(name, known)}")
        key = getattr(cv2, f"CAP_PROP_{name}")
        if not capture.set(key, value):
            raise CameraError(
                f"{self._name}: {setting}: the camera by {capture.getBackendName()} does not take CAP_PROP_{name}"
            )
        return float(capture.get(key))

    def _differences(self, took: dict[str, bool | int | float | str]) -> Iterator[str]:
        options = self._settings
        asked = {"rate_hz": options.rate_hz, "exposure_us": options.exposure_us} | options.nodes
        for key, value in asked.items():
            got = took.get(key)
            if isinstance(value, str) or value is None:
                continue
            if got is None:
                yield f"{self._name}: {key} = {value:g} was asked, and it does not say what it took"
            elif not isinstance(got, str) and abs(got - value) > 0.01 * abs(value):
                yield f"{self._name}: {key} = {value:g} was asked, and it took {got:g}"

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
        gray = out.shape[2] == 1
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


def _line(path: Path) -> str:
    """Read a line of `/sys`; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
