"""What backends for industrial cameras share: a device is chosen, set up by its GenICam features, read and let go.

An SDK differs in how a device is reached, how it is told to deliver, and how a frame is fetched; a backend is a
subclass that says these, and nothing else.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from posestream.acquisition.backends.demosaic import PixelLayout, layout_of
from posestream.acquisition.backends.genicam_features import Features, RefusedError, has_long_ids, tick_ns_of
from posestream.acquisition.backends.genicam_settings import apply_settings
from posestream.acquisition.backends.sdk_errors import SdkErrors
from posestream.acquisition.backends.software_trigger import SoftwareTrigger
from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError, CameraFormat, Capture, FoundCamera, Pixels
from posestream.stream.wire.clock import monotonic_ns

__all__ = ["Connected", "DeviceCamera", "choose", "found_camera"]

GIGE_IDS = (1, 65_535)
"""Frame ids of GigE Vision, unless the device counts with 64 bits; 0 is not used."""

Settings = TypeVar("Settings", bound=DeviceSettings)


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A device that was opened."""

    features: Features
    description: str
    """For people."""
    gige_ids: bool = False
    """Whether its frames come with the numbers of GigE Vision as the device wraps them."""
    tick_ns: float | None = None
    """Nanoseconds of a tick of the SDK's time stamps; none where they are the device's."""


class DeviceCamera(ABC, Generic[Settings]):
    """A camera whose SDK reaches its GenICam features; see `posestream.acquisition.camera.Camera`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    """

    errors: ClassVar[SdkErrors]
    """What the SDK raises."""

    def __init__(self, settings: Settings, clock: Callable[[], int] = monotonic_ns) -> None:
        self._settings, self._clock = settings, clock
        self._name = "the camera"
        """For messages; `_connect` sets it as soon as it knows the device."""
        self._lost_why = ""
        """What the SDK said of a frame that came incomplete; goes with the next frame."""
        self._features: Features | None = None
        self._layout: PixelLayout | None = None
        self._tick_ns: float | None = None
        self._trigger: SoftwareTrigger | None = None
        self._delivering = False

    @abstractmethod
    def _connect(self) -> Connected:
        """Find the device and open it."""

    @abstractmethod
    def _begin(self) -> None:
        """Let the opened device deliver, or wait for triggers."""

    @abstractmethod
    def _fetch(self, layout: PixelLayout, out: Pixels, wait_s: float) -> Capture | None:
        """Wait for a frame, 0 s or more, and put it into `out`; none where no whole one came."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the device, whatever state it is in; called twice, and after errors."""

    def open(self) -> CameraFormat:
        """Open the camera, set what is asked and read back what it took.

        Raises
        ------
        CameraError
            Where there is no such camera, it is in use, or can't do what the settings ask.
        """
        try:
            with self._errors_named("can't be opened; is it in use?"):
                connected = self._connect()
            with self._errors_named("can't be set up:"):
                return self._set_up(connected)
        except Exception:
            self.stop()
            raise

    def _set_up(self, connected: Connected) -> CameraFormat:
        features, options = connected.features, self._settings
        applied = apply_settings(features, options, self._name)
        layout = layout_of(applied.pixel_format)
        self._features, self._layout = features, layout
        self._tick_ns = connected.tick_ns or tick_ns_of(features)
        return CameraFormat(
            height=applied.height,
            width=applied.width,
            pixel_format=layout.pixel_format,
            bits=layout.bits,
            levels=options.levels,
            rate_hz=applied.rate_hz,
            tick_ns=self._tick_ns,
            device_ids=GIGE_IDS if connected.gige_ids and not has_long_ids(features) else None,
            origin=applied.origin,
            binning=applied.binning,
            settings=applied.settings,
            warnings=applied.warnings,
            description=connected.description,
        )

    def start(self) -> None:
        """Begin to deliver, or to wait for triggers.

        Raises
        ------
        CameraError
            Where it is not open, or won't start.
        """
        if self._features is None:
            raise CameraError(f"{self._name}: was started before it was opened")
        with self._errors_named("won't start:"):
            self._begin()
        if self._settings.trigger.source == "software" and self._settings.rate_hz is not None:
            self._trigger = SoftwareTrigger(self._features, self._settings.rate_hz, self._clock)
        self._delivering = True

    def read(self, out: Pixels, timeout_s: float) -> Capture | None:
        """Wait for the next frame and put it into `out`, by one copy from the driver's buffer.

        Parameters
        ----------
        out
            (height, width, channels), contiguous, of the format that `open` gave.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Capture or None
            None where no whole frame came in time. One that came incomplete is left out, so that its number is missing,
            and the next says why where the SDK does.

        Raises
        ------
        CameraError
            Where the camera was lost.
        """
        if self._layout is None or not self._delivering:
            raise CameraError(f"{self._name}: was read before it was started")
        deadline_ns = self._clock() + round(timeout_s * 1e9)
        with self._errors_named("lost; was it unplugged?"):
            while True:
                left_s = (deadline_ns - self._clock()) / 1e9
                due_s = self._trigger.fire() if self._trigger is not None else math.inf
                capture = self._fetch(self._layout, out, max(0.0, min(left_s, due_s)))
                if capture is not None or left_s <= 0:
                    return capture

    def stop(self) -> None:
        """End the delivery and let go of the camera."""
        self._delivering, self._trigger, self._features, self._layout, self._lost_why = False, None, None, None, ""
        self._release()

    def _captured(self, captured_ns: int, device_id: int, stamp: int) -> Capture:
        """Describe the frame that was fetched; a stamp of 0 is none."""
        why, self._lost_why = self._lost_why, ""
        device_time = stamp or None if self._tick_ns is not None else None
        return Capture(captured_ns=captured_ns, device_id=device_id, device_time=device_time, lost_why=why)

    def _gone(self) -> CameraError:
        return CameraError(f"{self._name}: lost; was it unplugged?")

    @contextlib.contextmanager
    def _errors_named(self, what: str) -> Iterator[None]:
        try:
            yield
        except RefusedError as error:
            raise CameraError(f"{self._name}: {what} {error}") from error
        except Exception as error:
            if not isinstance(error, CameraError) and isinstance(error, self.errors.kinds()):
                raise CameraError(f"{self._name}: {what} {self.errors.text(error)}") from error
            raise


def choose(what: str, serial: str | None, serials: Iterable[str]) -> str:
    """Choose the device that the rig means by the serial numbers of those that are there.

    Raises
    ------
    CameraError
        Where it is not there, or it takes a serial number to say which.
    """
    there = sorted(serials)
    if serial is None and len(there) == 1:
        return there[0]
    if serial in there:
        return str(serial)
    found = f"there are {', '.join(there)}" if there else "there is none"
    if serial is None and there:
        raise CameraError(f"serial: say which {what} is meant; {found}")
    raise CameraError(f"there is no {what}" + (f" with serial number {serial}; {found}" if serial else " here"))


def found_camera(description: str, serial: str) -> FoundCamera:
    """Describe a device that is there; its serial number chooses it."""
    return FoundCamera(description=description, serial=serial, options={"serial": serial})
