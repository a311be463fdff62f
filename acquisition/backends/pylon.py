"""Basler cameras, USB3 Vision and GigE Vision, through Basler's own SDK in the package pypylon.

With `PYLON_CAMEMU=2` in the environment the SDK has two cameras without hardware.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from posestream.acquisition.backends.demosaic import PixelLayout, unpack
from posestream.acquisition.backends.device_camera import Connected, DeviceCamera, choose, found_camera
from posestream.acquisition.backends.genicam_features import KINDS, Kind, Value
from posestream.acquisition.backends.sdk_errors import SdkErrors
from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError, Capture, FoundCamera, Pixels
from posestream.stream.wire.clock import monotonic_ns

__all__ = ["PylonCamera", "PylonSettings"]


def _sdk_errors() -> tuple[type[Exception], ...]:
    return (_genicam().GenericException,)


def _text(error: Exception) -> str:
    """Give the first sentence of the SDK's error, without its places in the source."""
    return str(error).split(" : ")[0].split("\n")[0].strip()


ERRORS = SdkErrors(kinds=_sdk_errors, text=_text)


class PylonSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a Basler camera."""

    buffers: Annotated[int, Meta(ge=2, le=10_000)] = 32
    """Frames that the driver keeps until they are read."""


class PylonCamera(DeviceCamera[PylonSettings]):
    """The camera backend `pylon`; see `posestream.acquisition.backends.device_camera.DeviceCamera`.

    `Capture.captured_ns` is when the frame had arrived.
    """

    Settings = PylonSettings
    errors = ERRORS

    def __init__(self, settings: PylonSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        super().__init__(settings, clock)
        self._name = "the Basler camera"
        self._camera: Any = None

    @staticmethod
    def find() -> list[FoundCamera]:
        """Give the cameras that are there."""
        return [
            found_camera(f"{device.GetVendorName()} {device.GetModelName()}", device.GetSerialNumber())
            for device in _sdk().TlFactory.GetInstance().EnumerateDevices()
        ]

    def _connect(self) -> Connected:
        pylon = _sdk()
        factory = pylon.TlFactory.GetInstance()
        devices = {device.GetSerialNumber(): device for device in factory.EnumerateDevices()}
        serial = choose("Basler camera", self._settings.serial, devices)
        device = devices[serial]
        self._name = f"{device.GetVendorName()} {device.GetModelName()} {serial}"
        self._camera = pylon.InstantCamera(factory.CreateDevice(device))
        self._camera.Open()
        self._camera.MaxNumBuffer.Value = self._settings.buffers
        return Connected(
            features=_Features(self._camera.GetNodeMap()),
            description=self._name,
            gige_ids=device.GetDeviceClass() == "BaslerGigE",
        )

    def _begin(self) -> None:
        self._camera.StartGrabbing(_sdk().GrabStrategy_OneByOne)

    def _fetch(self, layout: PixelLayout, out: Pixels, wait_s: float) -> Capture | None:
        result = self._camera.RetrieveResult(max(1, math.ceil(wait_s * 1000)), _sdk().TimeoutHandling_Return)
        captured_ns = self._clock()
        if not result.IsValid():
            if self._camera.IsCameraDeviceRemoved():
                raise self._gone()
            return None
        try:
            if not result.GrabSucceeded():
                self._lost_why = str(result.ErrorDescription).strip() or f"error {result.ErrorCode}"
                return None
            raw = np.frombuffer(result.GetImageMemoryView(), np.uint8)
            if result.PaddingX:
                raw = raw.reshape(out.shape[0], -1)[:, : -result.PaddingX].reshape(-1)
            unpack(layout, raw, out)
            return self._captured(captured_ns, int(result.BlockID), int(result.TimeStamp))
        finally:
            result.Release()

    def _release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            # A camera that was unplugged can't be told to stop
            with contextlib.suppress(*_sdk_errors()):
                camera.StopGrabbing()
                camera.Close()
            camera.DestroyDevice()


class _Features:
    """See `posestream.acquisition.backends.genicam_features.Features`."""

    def __init__(self, node_map: Any) -> None:
        self._map = node_map

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
        with ERRORS.as_refusals():
            value: Value = self._map.GetNode(name).GetValue()
            return value

    def set(self, name: str, value: Value) -> None:
        with ERRORS.as_refusals():
            self._map.GetNode(name).SetValue(value)

    def bounds(self, name: str) -> tuple[float, float, float]:
        with ERRORS.as_refusals():
            node = self._map.GetNode(name)
            stepped = self.kind(name) == "integer" or node.HasInc()
            return node.GetMin(), node.GetMax(), node.GetInc() if stepped else 0

    def entries(self, name: str) -> list[str]:
        with ERRORS.as_refusals():
            return list(self._map.GetNode(name).GetSettableValues())

    def execute(self, name: str) -> None:
        with ERRORS.as_refusals():
            self._map.GetNode(name).Execute()


def _sdk() -> Any:
    try:
        from pypylon import pylon
    except ImportError as error:
        raise CameraError(f'pypylon can\'t be used ({error}): pip install "posestream[pylon]"') from error
    return pylon


def _genicam() -> Any:
    from pypylon import genicam

    return genicam
