"""Cameras of any maker whose driver is a GenTL producer (a `.cti` file), through the package harvesters."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
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

__all__ = ["GenicamCamera", "GenicamSettings"]

PRODUCERS = "GENICAM_GENTL64_PATH"
"""Environment variable with the folders of producers; the makers' installers set it."""
POLL_MS = 20
TRIGGERED_POLL_MS = 1
"""How long the SDK waits for a frame before it looks at the clock."""


def _sdk_errors() -> tuple[type[Exception], ...]:
    from genicam.genapi import GenericException
    from genicam.gentl import GenericException as TransportException

    return (GenericException, TransportException)


def _text(error: Exception) -> str:
    """Give the first sentence of the SDK's error."""
    return str(error).split("\n")[0].strip()


ERRORS = SdkErrors(kinds=_sdk_errors, text=_text)


class GenicamSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a camera behind a GenTL producer."""

    producer: Path | None = None
    """The maker's `.cti` file; without it, all in the folders that `GENICAM_GENTL64_PATH` names."""
    buffers: Annotated[int, Meta(ge=2, le=10_000)] = 32
    """Frames that the driver keeps until they are read."""


class GenicamCamera(DeviceCamera[GenicamSettings]):
    """The camera backend `genicam`; see `posestream.acquisition.backends.device_camera.DeviceCamera`.

    `Capture.captured_ns` is when the frame had arrived. `CameraFormat.device_ids` is none: producers differ in whether
    they unwrap the numbers of a GigE Vision camera.
    """

    Settings = GenicamSettings
    errors = ERRORS

    def __init__(self, settings: GenicamSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        super().__init__(settings, clock)
        self._name = "the GenICam camera"
        self._harvester: Any = None
        self._acquirer: Any = None
        self._incomplete = 0

    @staticmethod
    def find() -> list[FoundCamera]:
        """Give the cameras behind the producers in `GENICAM_GENTL64_PATH`."""
        harvester = _harvester(None)
        try:
            return [
                found_camera(f"{device.vendor} {device.model}", device.serial_number)
                for device in harvester.device_info_list
            ]
        finally:
            harvester.reset()

    def _connect(self) -> Connected:
        options = self._settings
        self._harvester = _harvester(options.producer)
        devices = {device.serial_number: device for device in self._harvester.device_info_list}
        serial = choose("GenICam camera", options.serial, devices)
        self._name = f"{devices[serial].vendor} {devices[serial].model} {serial}"
        self._acquirer = self._harvester.create({"serial_number": serial})
        self._acquirer.num_buffers = max(options.buffers, self._acquirer.min_num_buffers)
        triggered = options.trigger.source == "software"
        self._acquirer.timeout_period_on_update_event_data_call = TRIGGERED_POLL_MS if triggered else POLL_MS
        return Connected(features=_Features(self._acquirer.remote_device.node_map), description=self._name)

    def _begin(self) -> None:
        self._acquirer.add_callback(self._acquirer.Events.INCOMPLETE_BUFFER, _counter(self))
        self._acquirer.start()

    def _fetch(self, layout: PixelLayout, out: Pixels, wait_s: float) -> Capture | None:
        buffer = self._acquirer.try_fetch(timeout=max(0.001, wait_s))
        captured_ns = self._clock()
        if buffer is None:
            return None
        with buffer:
            unpack(layout, buffer.payload.components[0].data.view(np.uint8).reshape(-1), out)
            stamp = 0
            with contextlib.suppress(_unavailable()):
                stamp = int(buffer.module.timestamp)
            self._incomplete = 0
            return self._captured(captured_ns, int(buffer.module.frame_id), stamp)

    def note_incomplete(self) -> None:
        """Count a buffer that came incomplete; called by the SDK within `read`."""
        self._incomplete += 1
        self._lost_why = f"{self._incomplete} came incomplete"

    def _release(self) -> None:
        self._incomplete = 0
        acquirer, self._acquirer = self._acquirer, None
        harvester, self._harvester = self._harvester, None
        if harvester is None:
            return
        # A camera that was unplugged can't be told to stop
        with contextlib.suppress(*_sdk_errors()):
            if acquirer is not None:
                acquirer.destroy()
        with contextlib.suppress(*_sdk_errors()):
            harvester.reset()


class _Features:
    """See `posestream.acquisition.backends.genicam_features.Features`."""

    def __init__(self, node_map: Any) -> None:
        self._map = node_map
        self._names = {node.node.name for node in node_map.nodes if node.node.is_feature()}

    def names(self) -> list[str]:
        return sorted(self._names)

    def kind(self, name: str) -> Kind | None:
        if not self._map.has_node(name) or self._mode(name) < _modes().WO:
            return None
        return KINDS.get(self._map.get_node(name).node.principal_interface_type)

    def readable(self, name: str) -> bool:
        return self._map.has_node(name) and self._mode(name) in {_modes().RO, _modes().RW}

    def writable(self, name: str) -> bool:
        return self._map.has_node(name) and self._mode(name) in {_modes().WO, _modes().RW}

    def get(self, name: str) -> Value:
        with ERRORS.as_refusals():
            value: Value = self._map.get_node(name).value
            return value

    def set(self, name: str, value: Value) -> None:
        with ERRORS.as_refusals():
            self._map.get_node(name).value = value

    def bounds(self, name: str) -> tuple[float, float, float]:
        with ERRORS.as_refusals():
            node = self._map.get_node(name)
            stepped = self.kind(name) == "integer" or node.has_inc()
            return node.min, node.max, node.inc if stepped else 0

    def entries(self, name: str) -> list[str]:
        with ERRORS.as_refusals():
            entries = self._map.get_node(name).entries
            return [entry.symbolic for entry in entries if entry.get_access_mode() >= _modes().WO]

    def execute(self, name: str) -> None:
        with ERRORS.as_refusals():
            self._map.get_node(name).execute()

    def _mode(self, name: str) -> int:
        return int(self._map.get_node(name).get_access_mode())


def _harvester(producer: Path | None) -> Any:
    try:
        from harvesters.core import Harvester
    except ImportError as error:
        raise CameraError(f'harvesters can\'t be used ({error}): pip install "posestream[genicam]"') from error
    if producer is None:
        folders = [Path(folder) for folder in os.environ.get(PRODUCERS, "").split(os.pathsep) if folder]
        files = sorted(file for folder in folders for file in folder.glob("*.cti"))
        if not files:
            raise CameraError(f"there is no GenTL producer: {PRODUCERS} names no folder with a .cti file")
    elif producer.is_file():
        files = [producer]
    else:
        raise CameraError(f"producer: there is no file {producer}")
    # What it says in its log stands in our errors and counters
    logging.getLogger("harvesters").setLevel(logging.CRITICAL)
    harvester = Harvester()
    try:
        for file in files:
            harvester.add_file(str(file))
        harvester.update()
    except _sdk_errors() as error:
        harvester.reset()
        raise CameraError(f"{', '.join(map(str, files))} can't be used: {_text(error)}") from error
    return harvester


def _counter(camera: GenicamCamera) -> Any:
    from harvesters.core import Callback

    class Counter(Callback):  # type: ignore[misc]
        def emit(self, context: object = None) -> None:  # noqa: ARG002
            camera.note_incomplete()

    return Counter()


def _modes() -> Any:
    from genicam.genapi import EAccessMode

    return EAccessMode


def _unavailable() -> type[Exception]:
    from genicam.gentl import NotAvailableException

    kind: type[Exception] = NotAvailableException
    return kind
