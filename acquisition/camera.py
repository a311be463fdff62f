"""What a camera backend is: four methods and a settings struct.

A backend is found by entry point (group `posestream.cameras`), so a lab can add its own without touching this
project. It knows its hardware and nothing else: the core hands it the memory to fill, numbers the frames, records
and publishes them.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.stream.wire.errors import UserError
from posestream.stream.wire.messages import CHANNELS, PixelFormat
from posestream.stream.wire.sensor import SensorPatch
from posestream.stream.wire.wording import near, wrong_value

__all__ = [
    "Camera",
    "CameraError",
    "CameraFormat",
    "CameraSettings",
    "Capture",
    "EndOfStream",
    "FoundCamera",
    "Pixels",
    "backends",
    "check_camera",
    "create_camera",
]

ENTRY_POINTS = "posestream.cameras"
Pixels = NDArray[Any]
"""A frame as a camera fills it: (height, width, channels), uint8, or uint16 for more than 8 bits."""


class CameraError(UserError):
    """A camera that is not there, can't do what was asked, or was lost; the text is for people."""


class EndOfStream(Exception):
    """The camera has no more frames to give: a video that was played to its end."""


class CameraSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a backend as they stand in the rig file; each backend has a subclass of its own."""


class CameraFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What an opened camera will deliver; it stays the same until it is stopped."""

    height: int
    """Rows of a frame."""
    width: int
    """Columns of a frame."""
    pixel_format: PixelFormat
    """How a pixel lies in memory."""
    rate_hz: float | None = None
    """Frames a second that it was set to; none where it sets its own pace."""
    tick_ns: float | None = None
    """Nanoseconds of a tick of `Capture.device_time`; none where it has no clock or does not say."""
    device_ids: tuple[int, int] | None = None
    """First and last of the device's frame numbers before it begins again at the first: (1, 65535) for GigE Vision,
    which does not use 0. None: they never do."""
    reconnects: bool = True
    """Whether it can come back after `read` has failed: a device that was unplugged can, a damaged file can't."""
    truth_names: tuple[str, ...] = ()
    """Names of the keypoints in `Capture.truth`."""
    waits_for_inference: bool = False
    """Whether it can wait, and wants to, until inference has taken what it gave: a video played for every frame."""
    description: str = ""
    """What was opened, for people: model and serial number, or the file."""
    bits: int = 8
    """Bits of a value; with more than 8, frames are read as uint16, the lowest bits used, and published as 8 bits."""
    levels: tuple[int, int] | None = None
    """Values that become 0 and 255 where `bits` is above 8; none: all that the bits can hold."""
    origin: tuple[int, int] = (0, 0)
    """Column and row of the sensor at which the first pixel of a frame begins."""
    binning: tuple[int, int] = (1, 1)
    """Sensor columns and rows that one pixel stands for."""
    patches: tuple[SensorPatch, ...] = ()
    """Where the pixels of a view lie on the sensor; none: as `origin` and `binning` say."""
    settings: dict[str, bool | int | float | str] = {}
    """What the device took, read back, in the words of the rig."""
    warnings: tuple[str, ...] = ()
    """What it took otherwise than asked, a sentence each."""

    @property
    def rate_asked_hz(self) -> float | None:
        """Frames a second that it should give; none where it has no rate, or goes at that of inference."""
        return None if self.waits_for_inference else self.rate_hz

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a frame: (height, width, channels)."""
        return (self.height, self.width, CHANNELS[self.pixel_format])

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Type of a value in a frame as `read` fills it."""
        return np.uint16 if self.bits > 8 else np.uint8

    @property
    def sensor(self) -> tuple[SensorPatch, ...]:
        """Where the pixels lie on the sensor; none: they are the sensor's."""
        if self.patches:
            return self.patches
        (left, top), (columns, rows) = self.origin, self.binning
        matrix = (float(columns), 0.0, left + columns / 2 - 0.5, 0.0, float(rows), top + rows / 2 - 0.5)
        patch = SensorPatch(x=0, y=0, width=self.width, height=self.height, to_sensor=matrix)
        return () if (self.origin, self.binning) == ((0, 0), (1, 1)) else (patch,)


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """What the camera says of the frame that it has just put into the buffer."""

    captured_ns: int
    """Host time (`posestream.stream.wire.clock.monotonic_ns`) at which the frame was there, or as near to the exposure
    as the host can tell. By it the core maps `device_time` to the host's clock, so it must not precede the exposure."""
    device_id: int | None = None
    """The device's own number of the frame as it gave it, wrapped in `CameraFormat.device_ids`; the core unwraps it. A
    jump means frames that the device lost. None: no number."""
    device_time: int | None = None
    """The device's stamp of the exposure in raw ticks; none where it has none."""
    presentation_ns: int | None = None
    """Time of the frame in the recorded video, where that is not its host time: a file played slower or faster."""
    truth: tuple[tuple[float, float], ...] | None = None
    """True keypoints (x, y in pixels) from a simulation."""
    lost_why: str = ""
    """What the device or its driver says of frames that were lost right before this one; empty: nothing."""


class FoundCamera(msgspec.Struct, frozen=True, kw_only=True):
    """A device that is plugged in."""

    description: str
    """Maker and model, for people."""
    serial: str
    """Serial number, or what else names it."""
    options: dict[str, Any]
    """Settings that choose it, as they would stand in the rig."""


@runtime_checkable
class Camera(Protocol):
    """A camera backend. Made from its settings without touching the hardware, then `open`, `start`, `read`..., `stop`.

    All calls come from one thread. A class attribute `Settings` names its subclass of `CameraSettings`. A backend whose
    devices can be searched for has a static method `find()` that gives a list of `FoundCamera`.

    `CameraError` and `EndOfStream` are the only errors that a method may raise. Any other, even SystemExit, ends the
    run, as does something else than what a method is to give; the run's report names the backend and the method. A
    method that does not return is told of after `timeout_s`; when the run ends, the session is closed without it after
    10 s.
    """

    Settings: type[Any]

    def open(self) -> CameraFormat:
        """Take hold of the device and set it up, delivering nothing yet.

        Raises
        ------
        CameraError
            Where there is no such device or it can't do what the settings ask. It should say so within a second: a
            device that was lost is looked for in this way, after `stop`.
        """
        ...

    def start(self) -> None:
        """Begin to deliver frames (or to wait for triggers); the first frame comes after this."""
        ...

    def read(self, out: Pixels, timeout_s: float) -> Capture | None:
        """Wait for the next frame and put it into `out`.

        Parameters
        ----------
        out
            (height, width, channels) uint8, contiguous, of the format that `open` gave; where `bits` is above 8,
            uint16 with values from 0 to 2**bits - 1.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Capture or None
            None where no frame came in time; that is no error.

        Raises
        ------
        EndOfStream
            Where there will be no more frames.
        CameraError
            Where the device was lost.
        """
        ...

    def stop(self) -> None:
        """End the delivery and let go of the device; safe to call twice, and after an error."""
        ...


def backends() -> list[str]:
    """Names of the installed camera backends, sorted."""
    return sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))


def create_camera(
    name: str, backend: str, options: Mapping[str, Any], folder: Path, known: Iterable[str] = ()
) -> Camera:
    """Make the camera that the rig describes, without touching the hardware.

    Parameters
    ----------
    name
        The camera's name in the rig, for messages.
    backend
        Name of the entry point.
    options
        The backend's settings as they stand in the rig.
    folder
        Folder of the rig file: settings of type `Path` that are relative are taken from there.
    known
        Keys that the rig itself understands in the same table, for near matches.

    Raises
    ------
    CameraError
        Where there is no such backend, or a key or value that it does not know.
    """
    factory, settings = _read_settings(name, backend, options, known)
    paths = {
        field: folder / value
        for field in settings.__struct_fields__
        if isinstance(value := getattr(settings, field), Path)
    }
    camera: Camera = factory(msgspec.structs.replace(settings, **paths))
    return camera


def check_camera(name: str, backend: str, options: Mapping[str, Any], known: Iterable[str] = ()) -> None:
    """See that `create_camera` would know every key and value, without making the camera.

    Parameters
    ----------
    name, backend, options, known
        As for `create_camera`.

    Raises
    ------
    CameraError
        As `create_camera`, with a line for each key and value.
    """
    _read_settings(name, backend, options, known)


def _read_settings(
    name: str, backend: str, options: Mapping[str, Any], known: Iterable[str]
) -> tuple[Any, CameraSettings]:
    """Give a backend's class and its settings; errors are those of `create_camera`."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if backend not in found:
        installed = ", ".join(sorted(found))
        raise CameraError(
            f'cameras.{name}.backend: there is no backend "{backend}"{near(backend, found)}; installed are {installed}'
        )
    try:
        factory = found[backend].load()
    except (ImportError, AttributeError) as error:
        raise CameraError(
            f'cameras.{name}.backend = "{backend}": software that it needs is not installed here ({error})'
        ) from error
    fields = {field.name: field for field in msgspec.structs.fields(factory.Settings)}
    problems = _problems(f"cameras.{name}", factory.Settings, options, known)
    if any("unknown key" in problem for problem in problems):
        problems.append(f'backend "{backend}" has: {", ".join(sorted(fields)) or "no settings"}')
    if problems:
        raise CameraError("\n".join(problems))
    try:
        settings: CameraSettings = msgspec.convert(options, factory.Settings, dec_hook=_path)
    except msgspec.ValidationError as error:  # what a backend's own struct checks beyond its fields' types
        raise CameraError(f"cameras.{name}: {error}") from None
    return factory, settings


def _problems(place: str, kind: type, options: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """Say of each key of a table that can't be used why, and what is missing."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    problems = [f"{place}.{name}: missing" for name, field in fields.items() if field.required and name not in options]
    for key, value in options.items():
        if key not in fields:
            problems.append(f"{place}.{key}: unknown key{near(key, [*fields, *known])}")
            continue
        field_type = fields[key].type
        if isinstance(value, dict) and isinstance(field_type, type) and issubclass(field_type, msgspec.Struct):
            problems += _problems(f"{place}.{key}", field_type, value, ())
            continue
        try:
            msgspec.convert(value, field_type, dec_hook=_path)
        except msgspec.ValidationError:
            problems.append(wrong_value(f"{place}.{key}", value, field_type))
    return problems


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
