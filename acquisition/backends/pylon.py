"""Basler cameras, USB3 Vision and GigE Vision, through Basler's own SDK in the package pypylon.

With `PYLON_CAMEMU=2` in the environment the SDK has two cameras without hardware.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from posestream.acquisition.backends.demosaic import PixelLayout, layout_of, unpack
from posestream.acquisition.backends.genicam_features import (
    KINDS,
    Kind,
    RefusedError,
    SoftwareTrigger,
    Value,
    apply_settings,
    choose,
    tick_ns_of,
)
from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError, CameraFormat, Capture, FoundCamera, Pixels
from posestream.stream.wire.clock import monotonic_ns

__all__ = ["PylonCamera", "PylonSettings"]


class PylonSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a Basler camera."""

    buffers: Annotated[int, Meta(ge=2, le=10_000)] = 32
    """Frames that the driver keeps for a reader who is late."""


class PylonCamera:
    """The camera backend `pylon`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    """

    Settings = PylonSettings

    def __init__(self, settings: PylonSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        self._settings, self._clock = settings, clock
        self._name = "the Basler camera"
        self._camera: Any = None
        self._layout: PixelLayout | None = None
        self._tick_ns: float | None = None
        self._trigger: SoftwareTrigger | None = None
        self._grabbing = False

    @staticmethod
    def find() -> list[FoundCamera]:
        """Give the cameras that are there."""
        devices = _sdk().TlFactory.GetInstance().EnumerateDevices()
        return [
            FoundCamera(
                description=f"{device.GetVendorName()} {device.GetModelName()}",
                serial=device.GetSerialNumber(),
                options={"serial": device.GetSerialNumber()},
            )
            for device in devices
        ]

    def open(self) -> CameraFormat:
        """Open the camera, set what is asked and read back what it took.

        Returns
        -------
        CameraFormat
            With `device_ids` of a GigE camera that has 16 bits for them.

        Raises
        ------
        CameraError
            Where there is no such camera, it is in use, or can't do what the settings ask.
        """
        pylon, options = _sdk(), self._settings
        factory = pylon.TlFactory.GetInstance()
        devices = {device.GetSerialNumber(): device for device in factory.EnumerateDevices()}
        serial = choose("Basler camera", options.serial, devices)
        device = devices[serial]
        self._name = f"{device.GetVendorName()} {device.GetModelName()} {serial}"
        try:
            self._camera = pylon.InstantCamera(factory.CreateDevice(device))
            self._camera.Open()
            self._camera.MaxNumBuffer.Value = options.buffers
        except _failures() as error:
            self.stop()
            raise CameraError(f"{self._name}: can't be opened; is it in use? {_text(error)}") from error
        try:
            features = _Features(self._camera.GetNodeMap())
            applied = apply_settings(features, options, self._name)
            self._layout = layout_of(applied.pixel_format)
            self._tick_ns = tick_ns_of(features)
            short_ids = device.GetDeviceClass() == "BaslerGigE" and not features.extended_ids
        except CameraError:
            self.stop()
            raise
        return CameraFormat(
            height=applied.height,
            width=applied.width,
            pixel_format=self._layout.pixel_format,
            bits=self._layout.bits,
            levels=options.levels,
            rate_hz=applied.rate_hz,
            tick_ns=self._tick_ns,
            device_ids=(1, 65_535) if short_ids else None,
            origin=applied.origin,
            binning=applied.binning,
            settings=applied.settings,
            warnings=applied.warnings,
            description=self._name,
        )

    def start(self) -> None:
        """Begin to deliver, or to wait for triggers.

        Raises
        ------
        CameraError
            Where it is not open, or won't start.
        """
        if self._camera is None:
            raise CameraError(f"{self._name}: was started before it was opened")
        try:
            self._camera.StartGrabbing(_sdk().GrabStrategy_OneByOne)
        except _failures() as error:
            raise CameraError(f"{self._name}: won't start: {_text(error)}") from error
        if self._settings.trigger.source == "software" and self._settings.rate_hz is not None:
            self._trigger = SoftwareTrigger(_Features(self._camera.GetNodeMap()), self._settings.rate_hz, self._clock)
        self._grabbing = True

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
            `captured_ns` is when the frame had arrived. A frame that came incomplete is left out, so that its number is
            missing, and named in `lost_why` of the next.

        Raises
        ------
        CameraError
            Where the camera was lost.
        """
        if self._layout is None or not self._grabbing:
            raise CameraError(f"{self._name}: was read before it was started")
        deadline_ns, why = self._clock() + round(timeout_s * 1e9), ""
        while (left_s := (deadline_ns - self._clock()) / 1e9) > 0 or why:
            try:
                capture, failure = self._retrieve(self._layout, out, max(left_s, 0.001), why)
            except _failures() as error:
                raise CameraError(f"{self._name}: lost; was it unplugged? {_text(error)}") from error
            if capture is not None:
                return capture
            why = failure or why
        return None

    def _retrieve(self, layout: PixelLayout, out: Pixels, wait_s: float, why: str) -> tuple[Capture | None, str]:
        if self._trigger is not None:
            wait_s = min(wait_s, self._trigger.fire())
        result = self._camera.RetrieveResult(max(1, math.ceil(wait_s * 1000)), _sdk().TimeoutHandling_Return)
        captured_ns = self._clock()
        if not result.IsValid():
            if self._camera.IsCameraDeviceRemoved():
                raise CameraError(f"{self._name}: lost; was it unplugged?")
            return None, ""
        try:
            if not result.GrabSucceeded():
                return None, str(result.ErrorDescription).strip() or f"error {result.ErrorCode}"
            raw = np.frombuffer(result.GetImageMemoryView(), np.uint8)
            if result.PaddingX:
                raw = raw.reshape(out.shape[0], -1)[:, : -result.PaddingX].reshape(-1)
            unpack(layout, raw, out)
            stamp = int(result.TimeStamp) if self._tick_ns is not None else 0
            return Capture(
                captured_ns=captured_ns,
                device_id=int(result.BlockID),
                device_time=stamp or None,
                lost_why=why,
            ), ""
        finally:
            result.Release()

    def stop(self) -> None:
        """End the delivery and let go of the camera."""
        self._grabbing, self._trigger, self._layout = False, None, None
        camera, self._camera = self._camera, None
        if camera is not None:
            # A camera that was unplugged can't be told to stop
            with contextlib.suppress(*_failures()):
                camera.StopGrabbing()
                camera.Close()
            camera.DestroyDevice()


class _Features:
    """See `posestream.acquisition.backends.genicam_features.Features`."""

    def __init__(self, node_map: Any) -> None:
        self._map = node_map

    @property
    def extended_ids(self) -> bool:
        """Whether frame numbers have 64 bits over GigE Vision."""
        return self.readable("GevGVSPExtendedIDMode") and self.get("GevGVSPExtendedIDMode") == "On"

    def names(self) -> list[str]:
        nodes = (node.GetNode() for node in self._map.GetNodes())
        return [node.GetName() for node in nodes if node.IsFeature()]

    def kind(self, name: str) -> Kind | None:
        node = self._map.GetNode(name)
        if not node.IsValid() or not _genicam().IsAvailable(node):
            return None
        return KINDS.get(node.GetNode().GetPrincipalInterfaceType())

    def readable(self, name: str) -> bool:
        return self.kind(name) is not None and bool(_genicam().IsReadable(self._map.GetNode(name)))

    def writable(self, name: str) -> bool:
        return self.kind(name) is not None and bool(_genicam().IsWritable(self._map.GetNode(name)))

    def get(self, name: str) -> Value:
        with _refusals():
            value: Value = self._map.GetNode(name).GetValue()
            return value

    def set(self, name: str, value: Value) -> None:
        with _refusals():
            self._map.GetNode(name).SetValue(value)

    def bounds(self, name: str) -> tuple[float, float, float]:
        with _refusals():
            node = self._map.GetNode(name)
            stepped = self.kind(name) == "integer" or node.HasInc()
            return node.GetMin(), node.GetMax(), node.GetInc() if stepped else 0

    def entries(self, name: str) -> list[str]:
        with _refusals():
            return list(self._map.GetNode(name).GetSettableValues())

    def execute(self, name: str) -> None:
        with _refusals():
            self._map.GetNode(name).Execute()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        raise RefusedError(_text(error)) from error


def _sdk() -> Any:
    try:
        from pypylon import pylon
    except ImportError as error:
        raise CameraError(f'pypylon can\'t be used ({error}): pip install "posestream[pylon]"') from error
    return pylon


def _genicam() -> Any:
    from pypylon import genicam

    return genicam


def _failures() -> tuple[type[Exception], ...]:
    return (_genicam().GenericException, RefusedError)


def _text(error: Exception) -> str:
    """Give the first sentence of the SDK's error, without its places in the source."""
    return str(error).split(" : ")[0].split("\n")[0].strip()
