"""Views: the recorded frame is made of regions of what the camera delivers, cut, turned and joined as it comes.

One camera and a mirror give two views of an animal (Mathis & Warren 2018 joined the top and the bottom view of a
treadmill); cut and joined they are one small frame, for the video and for the network. Each region is copied once,
straight to where it ends up.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.camera import Camera, CameraError, CameraFormat, Capture
from posestream.stream.wire.sensor import SensorPatch, to_frame
from posestream.stream.wire.settings import Flip, MaskSettings, RegionSettings, ViewSettings

__all__ = ["View", "ViewedCamera"]

Affine = NDArray[np.int64]
"""3 x 3: takes a pixel (x, y, 1) of one frame to that of another."""
Size = tuple[int, int]
"""Columns and rows."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A region of the camera's frame and where it ends up."""

    region: RegionSettings
    x: int
    y: int
    width: int
    height: int
    to_camera: Affine
    """From the recorded frame to the camera's."""

    def copy(self, camera_frame: NDArray[Any], out: NDArray[Any]) -> None:
        region, matrix = self.region, self.to_camera
        source = camera_frame[region.y : region.y + region.height, region.x : region.x + region.width]
        target = out[self.y : self.y + self.height, self.x : self.x + self.width]
        transposed = matrix[0, 0] == 0
        flipped = (matrix[:2, :2].sum(axis=0) < 0).tolist()  # whether x, y of the frame run against the camera's
        code = {(True, False): 1, (False, True): 0, (True, True): -1}.get(tuple(flipped))
        if transposed:
            cv2.transpose(source, target)
            source = target
        if code is not None:
            cv2.flip(source, code, target)
        elif not transposed:
            np.copyto(target, source)


class View:
    """Makes the recorded frame of a camera's.

    Parameters
    ----------
    settings
        What to make.
    camera_format
        What the camera delivers.
    name
        The camera's name in the rig, for messages.
    folder
        Folder from which a relative path of a mask's image is taken.

    Raises
    ------
    CameraError
        Where the settings don't fit the camera's frame, or each other.
    """

    def __init__(self, settings: ViewSettings, camera_format: CameraFormat, name: str, folder: Path) -> None:
        self._key = f"cameras.{name}.view"
        size = (camera_format.width, camera_format.height)
        regions = settings.regions or (RegionSettings(x=0, y=0, width=size[0], height=size[1]),)
        for index, region in enumerate(regions):
            if region.x + region.width > size[0] or region.y + region.height > size[1]:
                raise CameraError(
                    f"{self._key}.regions.{index}: {region.width}x{region.height} at x {region.x}, y {region.y} "
                    f"reaches beyond the camera's frame of {size[0]}x{size[1]}"
                )
        self._parts, (width, height) = self._join(settings, regions)
        self._in_camera = tuple(_patch(part, np.eye(3)) for part in self._parts)
        sensor = camera_format.sensor
        on_sensor = tuple(_patch(part, _matrix(sensor[0]) if sensor else np.eye(3)) for part in self._parts)
        self.format = msgspec.structs.replace(
            camera_format, width=width, height=height, origin=(0, 0), binning=(1, 1), patches=_told(on_sensor)
        )
        """The recorded frame's."""
        self._fill = self._outside = None
        if settings.mask is not None:
            self._outside = self._mask(settings.mask, (width, height), folder)
            self._fill = np.full(self.format.shape, self._value(settings.mask), camera_format.dtype)

    def _join(self, settings: ViewSettings, regions: tuple[RegionSettings, ...]) -> tuple[list[_Part], Size]:
        turned = [(region, *_turn((region.width, region.height), region.flip, region.rotate)) for region in regions]
        down = settings.join == "vertical"
        if len({size[0 if down else 1] for _, _, size in turned}) > 1:
            listed = ", ".join(f"{width}x{height}" for _, _, (width, height) in turned)
            raise CameraError(
                f"{self._key}.regions: {listed} (as they are turned) can't be joined; "
                + ("one below the other they need one width" if down else "side by side they need one height")
            )
        sizes = np.array([size for _, _, size in turned])
        most, total = sizes.max(axis=0).tolist(), sizes.sum(axis=0).tolist()
        joined = (most[0], total[1]) if down else (total[0], most[1])
        whole, final = _turn(joined, settings.flip, settings.rotate)
        parts, start = [], 0
        for region, matrix, size in turned:
            left, top = (0, start) if down else (start, 0)
            start += size[1 if down else 0]
            corners = np.array([[left, left + size[0] - 1], [top, top + size[1] - 1], [1, 1]])
            place = np.rint(np.linalg.inv(whole) @ corners).astype(int)
            (x, y, _), (right, bottom, _) = place.min(axis=1).tolist(), place.max(axis=1).tolist()
            to_camera = _shift(region.x, region.y) @ matrix @ _shift(-left, -top) @ whole
            parts.append(_Part(region, x, y, right - x + 1, bottom - y + 1, to_camera))
        return parts, final

    def _mask(self, mask: MaskSettings, size: Size, folder: Path) -> NDArray[np.uint8]:
        inside = np.zeros((size[1], size[0]), np.uint8)
        if mask.image is not None:
            inside = _read_image(f"{self._key}.mask.image", folder / Path(mask.image).expanduser(), size)
        for polygon in mask.polygons:
            # In 1/16 of a pixel, as far as OpenCV's fixed point numbers go
            cv2.fillPoly(inside, [np.rint(np.array(polygon) * 16).astype(np.int32)], 255, shift=4)
        if not inside.any():
            raise CameraError(f"{self._key}.mask: nothing of the frame of {size[0]}x{size[1]} is left")
        return np.where(inside == 0, 255, 0).astype(np.uint8)

    def _value(self, mask: MaskSettings) -> int:
        most = 2**self.format.bits - 1
        if mask.value > most:
            raise CameraError(f"{self._key}.mask.value = {mask.value}: a pixel of {self.format.bits} bits holds {most}")
        return mask.value

    def apply(self, camera_frame: NDArray[Any], out: NDArray[Any]) -> None:
        """Make a frame.

        Parameters
        ----------
        camera_frame
            (height, width, channels) of the camera, contiguous.
        out
            (height, width, channels) of the view's `format`, of the same type, contiguous.
        """
        planar = out[..., 0] if out.shape[2] == 1 else out
        for part in self._parts:
            part.copy(camera_frame[..., 0] if out.shape[2] == 1 else camera_frame, planar)
        if self._outside is not None and self._fill is not None:
            cv2.copyTo(self._fill, self._outside, out)

    def truth(self, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        """Give the places in the view of places in the camera's frame; NaN for what no region shows."""
        return tuple((x, y) for x, y in to_frame(self._in_camera, points).tolist())


class ViewedCamera:
    """A camera that delivers a view of what another one delivers.

    Parameters
    ----------
    camera
        The camera; it is this one's from here on.
    settings
        What to make of its frames.
    name
        Its name in the rig, for messages.
    folder
        Folder from which a relative path of a mask's image is taken.
    """

    def __init__(self, camera: Camera, settings: ViewSettings, name: str, folder: Path) -> None:
        self.Settings = camera.Settings
        self._camera, self._settings, self._name, self._folder = camera, settings, name, folder
        self._view: View | None = None
        self._frame: NDArray[Any] = np.empty(0, np.uint8)

    def open(self) -> CameraFormat:
        """Open the camera and see that the view fits what it delivers.

        Raises
        ------
        CameraError
            Where the camera can't be opened or the view does not fit.
        """
        camera_format = self._camera.open()
        try:
            self._view = View(self._settings, camera_format, self._name, self._folder)
        except CameraError:
            self._camera.stop()
            raise
        self._frame = np.empty(camera_format.shape, camera_format.dtype)
        return self._view.format

    def start(self) -> None:
        """Start the camera."""
        self._camera.start()

    def read(self, out: NDArray[Any], timeout_s: float) -> Capture | None:
        """Wait for the camera's next frame and put the view of it into `out`; otherwise as the camera's own `read`."""
        capture = self._camera.read(self._frame, timeout_s)
        if capture is None or self._view is None:
            return None
        self._view.apply(self._frame, out)
        if capture.truth is None:
            return capture
        return msgspec.structs.replace(capture, truth=self._view.truth(capture.truth))

    def stop(self) -> None:
        """Stop the camera."""
        self._camera.stop()


def _turn(size: Size, flip: Flip, rotate: int) -> tuple[Affine, Size]:
    """Flip a frame, then rotate it clockwise: gives the way back to the frame's pixels, and the turned size."""
    width, height = size
    matrix = np.eye(3, dtype=np.int64)
    if flip in {"horizontal", "both"}:
        matrix[0] = -1, 0, width - 1
    if flip in {"vertical", "both"}:
        matrix[1] = 0, -1, height - 1
    for _ in range(rotate // 90):
        # A pixel (x, y) of the rotated frame was at (y, height - 1 - x).
        matrix = matrix @ np.array([[0, 1, 0], [-1, 0, height - 1], [0, 0, 1]])
        width, height = height, width
    return matrix, (width, height)


def _shift(x: int, y: int) -> Affine:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _matrix(patch: SensorPatch) -> NDArray[np.float64]:
    return np.array([*patch.to_sensor, 0.0, 0.0, 1.0]).reshape(3, 3)


def _patch(part: _Part, from_camera: NDArray[np.float64]) -> SensorPatch:
    a, b, c, d, e, f = (from_camera @ part.to_camera)[:2].ravel().tolist()
    return SensorPatch(x=part.x, y=part.y, width=part.width, height=part.height, to_sensor=(a, b, c, d, e, f))


def _told(patches: tuple[SensorPatch, ...]) -> tuple[SensorPatch, ...]:
    """Nothing to tell where the frame's pixels are the sensor's."""
    return () if all(patch.to_sensor == (1, 0, 0, 0, 1, 0) for patch in patches) else patches


def _read_image(key: str, path: Path, size: Size) -> NDArray[np.uint8]:
    try:
        # Not cv2.imread, which can't open every path on Windows.
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error) as error:
        raise CameraError(f"{key}: {path} can't be read: {getattr(error, 'strerror', None) or 'no image'}") from error
    if picture is None:
        raise CameraError(f"{key}: {path} is no image that OpenCV can read")
    if picture.shape != (size[1], size[0]):
        raise CameraError(f"{key}: {path} is {picture.shape[1]}x{picture.shape[0]}, the frame {size[0]}x{size[1]}")
    return np.asarray(picture, np.uint8)
