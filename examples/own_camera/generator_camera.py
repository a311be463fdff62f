"""A camera backend of one's own: `frames = "mylab:grab"` films what the generator `grab()` of mylab.py yields.

Whatever Python can read is a camera so, a Raspberry Pi's with `while True: yield picamera2.capture_array()`. Each
picture is a new uint8 array, (height, width) or (height, width, 3) in the order red, green, blue.
"""

import pkgutil
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.camera import CameraError, CameraFormat, CameraSettings, Capture, EndOfStream
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import PixelFormat


class GeneratorSettings(CameraSettings, frozen=True, kw_only=True):
    frames: str


class GeneratorCamera:
    Settings = GeneratorSettings

    def __init__(self, settings: GeneratorSettings) -> None:
        self.name = settings.frames
        self.frames: Iterator[NDArray[np.uint8]] | None = None
        self.count: int | None = None

    def open(self) -> CameraFormat:
        try:
            self.frames = iter(pkgutil.resolve_name(self.name)())
            picture = next(self.frames)  # its shape is the camera's
        except Exception as error:  # whatever the lab's code raises is told as it is
            raise CameraError(f"frames = {self.name!r}: {error!r}") from error
        self.shape = (*picture.shape, 1)[:3]
        height, width, channels = self.shape
        pixel_format: PixelFormat = "gray8" if channels == 1 else "rgb24"
        return CameraFormat(height=height, width=width, pixel_format=pixel_format, description=self.name)

    def start(self) -> None:
        if self.frames is None:
            raise CameraError(f"{self.name}: was started before it was opened")
        self.count = 0

    def read(self, out: NDArray[np.uint8], timeout_s: float) -> Capture:
        # A generator can't be waited for with a limit, so it should yield soon
        if self.frames is None or self.count is None:
            raise CameraError(f"{self.name}: was read before it was started")
        try:
            picture = next(self.frames)
        except StopIteration:
            raise EndOfStream from None
        captured_ns, number, self.count = monotonic_ns(), self.count, self.count + 1
        if picture.size != out.size:
            raise CameraError(f"{self.name}: gave a picture of shape {picture.shape}, not {self.shape}")
        np.copyto(out, picture.reshape(self.shape))
        return Capture(captured_ns=captured_ns, device_id=number)

    def stop(self) -> None:
        self.frames = self.count = None
