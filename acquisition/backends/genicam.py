"""Cameras of any maker whose driver is a GenTL producer (a `.cti` file), through the package harvesters."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
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

__all__ = ["GenicamCamera", "GenicamSettings"]

PRODUCERS = "GENICAM_GENTL64_PATH"
"""Environment variable with the folders of producers; the makers' installers set it."""
POLL_MS = 20
TRIGGERED_POLL_MS = 1
"""How long the SDK waits for a frame before it looks at the clock."""


class GenicamSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a camera behind a GenTL producer."""

    producer: Path | None = None
    """The maker's `.cti` file; without it, all in the folders that `GENICAM_GENTL64_PATH` names."""
    buffers: Annotated[int, Meta(ge=2, le=10_000)] = 32
    """Frames that the driver keeps for a reader who is late."""


class GenicamCamera:
    """The camera backend `genicam`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    """

    Settings = GenicamSettings

    def __init__(self, settings: GenicamSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        self._settings, self._clock = settings, clock
        self._name = "the GenICam camera"
        self._harvester: Any = None
        self._acquirer: Any = None
        self._layout: PixelLayout | None = None
        self._tick_ns: float | None = None
        self._trigger: SoftwareTrigger | None = None
        self._incomplete = 0
        self._acquiring = False

    @staticmethod
    def find() -> list[FoundCamera]:
        """Give the cameras behind the producers in `GENICAM_GENTL64_PATH`."""
        harvester = _harvester(None)
        try:
            return [
                FoundCamera(
                    description=f"{device.vendor} {device.model}",
                    serial=device.serial_number,
                    options={"serial": device.serial_number},
                )
                for device in harvester.device_info_list
            ]
        finally:
            harvester.reset()

    def open(self) -> CameraFormat:
        """Open the camera, set what is asked and read back what it took.

        Returns
        -------
        CameraFormat
            Without `device_ids`: producers differ in whether they unwrap the numbers of a GigE Vision camera.

        Raises
        ------
        CameraError
            Where there is no producer or no such camera, it is in use, or can't do what the settings ask.
        """
        options = self._settings
        self._harvester = _harvester(options.producer)
        try:
            return self._open()
        except CameraError:
            self.stop()
            raise
        except _failures() as error:
            self.stop()
            raise CameraError(f"{self._name}: can't be opened; is it in use? {_text(error)}") from error

    def _open(self) -> CameraFormat:
        options = self._settings
        devices = {device.serial_number: device for device in self._harvester.device_info_list}
        serial = choose("GenICam camera", options.serial, devices)
        self._name = f"{devices[serial].vendor} {devices[serial].model} {serial}"
        self._acquirer = self._harvester.create({"serial_number": serial})
        self._acquirer.num_buffers = max(options.buffers, self._acquirer.min_num_buffers)
        triggered = options.trigger.source == "software"
        self._acquirer.timeout_period_on_update_event_data_call = TRIGGERED_POLL_MS if triggered else POLL_MS
        features = _Features(self._acquirer.remote_device.node_map)
        applied = apply_settings(features, options, self._name)
        self._layout = layout_of(applied.pixel_format)
        self._tick_ns = tick_ns_of(features)
        return CameraFormat(
            height=applied.height,
            width=applied.width,
            pixel_format=self._layout.pixel_format,
            bits=self._layout.bits,
            levels=options.levels,
            rate_hz=applied.rate_hz,
            tick_ns=self._tick_ns,
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
        if self._acquirer is None:
            raise CameraError(f"{self._name}: was started before it was opened")
        self._acquirer.add_callback(self._acquirer.Events.INCOMPLETE_BUFFER, _counter(self))
        try:
            self._acquirer.start()
        except _failures() as error:
            raise CameraError(f"{self._name}: won't start: {_text(error)}") from error
        if self._settings.trigger.source == "software" and self._settings.rate_hz is not None:
            features = _Features(self._acquirer.remote_device.node_map)
            self._trigger = SoftwareTrigger(features, self._settings.rate_hz, self._clock)
        self._acquiring = True

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
            missing, and counted in `lost_why` of the next.

        Raises
        ------
        CameraError
            Where the camera was lost.
        """
        if self._layout is None or not self._acquiring:
            raise CameraError(f"{self._name}: was read before it was started")
        deadline_ns = self._clock() + round(timeout_s * 1e9)
        while (left_s := (deadline_ns - self._clock()) / 1e9) > 0:
            try:
                if self._trigger is not None:
                    left_s = max(0.001, min(left_s, self._trigger.fire()))
                buffer = self._acquirer.try_fetch(timeout=left_s)
                captured_ns = self._clock()
                if buffer is not None:
                    with buffer:
                        return self._take(self._layout, buffer, out, captured_ns)
            except _failures() as error:
                raise CameraError(f"{self._name}: lost; was it unplugged? {_text(error)}") from error
        return None

    def _take(self, layout: PixelLayout, buffer: Any, out: Pixels, captured_ns: int) -> Capture:
        unpack(layout, buffer.payload.components[0].data.view(np.uint8).reshape(-1), out)
        stamp = None
        if self._tick_ns is not None:
            with contextlib.suppress(_unavailable()):
                stamp = int(buffer.module.timestamp) or None
        count, self._incomplete = self._incomplete, 0
        return Capture(
            captured_ns=captured_ns,
            device_id=int(buffer.module.frame_id),
            device_time=stamp,
            lost_why=f"{count} came incomplete" if count else "",
        )

    def note_incomplete(self) -> None:
        """Count a buffer that came incomplete; called by the SDK within `read`."""
        self._incomplete += 1

    def stop(self) -> None:
        """End the delivery and let go of the camera and its producer."""
        self._acquiring, self._trigger, self._layout, self._incomplete = False, None, None, 0
        acquirer, self._acquirer = self._acquirer, None
        harvester, self._harvester = self._harvester, None
        if harvester is None:
            return
        # A camera that was unplugged can't be told to stop
        with contextlib.suppress(*_failures()):
            if acquirer is not None:
                acquirer.destroy()
        with contextlib.suppress(*_failures()):
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
        with _refusals():
            value: Value = self._map.get_node(name).value
            return value

    def set(self, name: str, value: Value) -> None:
        with _refusals():
            self._map.get_node(name).value = value

    def bounds(self, name: str) -> tuple[float, float, float]:
        with _refusals():
            node = self._map.get_node(name)
            stepped = self.kind(name) == "integer" or node.has_inc()
            return node.min, node.max, node.inc if stepped else 0

    def entries(self, name: str) -> list[str]:
        with _refusals():
            entries = self._map.get_node(name).entries
            return [entry.symbolic for entry in entries if entry.get_access_mode() >= _modes().WO]

    def execute(self, name: str) -> None:
        with _refusals():
            self._map.get_node(name).execute()

    def _mode(self, name: str) -> int:
        return int(self._map.get_node(name).get_access_mode())


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        raise RefusedError(_text(error)) from error


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
    except _failures() as error:
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


def _failures() -> tuple[type[Exception], ...]:
    from genicam.genapi import GenericException
    from genicam.gentl import GenericException as TransportException

    return (GenericException, TransportException, RefusedError)


def _text(error: Exception) -> str:
    """Give the first sentence of the SDK's error."""
    return str(error).split("\n")[0].strip()
