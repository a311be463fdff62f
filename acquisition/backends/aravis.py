"""GigE Vision and USB3 Vision cameras without a vendor's software, by the library Aravis.

Aravis numbers what it receives by the device's own frame ids and hands out incomplete frames marked as such; those
are not delivered, so that their ids are seen to be missing. Its receiving thread writes into memory of ours, and a
frame is copied once, out of that.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.backends.aravis_features import AravisFeatures
from posestream.acquisition.backends.aravis_library import Aravis, GLib
from posestream.acquisition.backends.demosaic import PixelLayout, layout_of, unpack
from posestream.acquisition.backends.genicam_features import RefusedError, SoftwareTrigger, apply_settings
from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError, CameraFormat, Capture, FoundCamera, Pixels
from posestream.stream.wire.clock import monotonic_ns, wall_ns

__all__ = ["AravisCamera", "AravisSettings"]

GIGE_IDS = (1, 65_535)
"""Frame ids of GigE Vision, unless the device counts with 64 bits; 0 is not used."""


class AravisSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an Aravis camera."""

    buffers: Annotated[int, Meta(ge=2, le=10_000)] = 64
    """Frames that Aravis has memory for: a frame that waits for lost packets holds up those behind it."""
    packet_size: Annotated[int, Meta(ge=576, le=65_535)] | Literal["auto"] = "auto"
    """GigE: bytes of a packet; `auto`: the largest that comes through."""
    packet_delay_ns: Annotated[int, Meta(ge=0)] | None = None
    """GigE: pause after a packet, nanoseconds, for cameras that share a cable."""
    packet_resend: bool = True
    """GigE: whether to ask for lost packets again."""


class AravisCamera:
    """The camera backend `aravis`.

    Parameters
    ----------
    settings
        What the rig says.
    """

    Settings = AravisSettings

    def __init__(self, settings: AravisSettings) -> None:
        self._settings = settings
        self._found = _Device("", settings.serial or "", "")
        self._camera: Any = None
        self._stream: Any = None
        self._features: AravisFeatures | None = None
        self._trigger: SoftwareTrigger | None = None
        self._layout: PixelLayout | None = None
        self._memory: dict[int, NDArray[np.uint8]] = {}
        self._lost = threading.Event()

    @staticmethod
    def find() -> list[FoundCamera]:
        """Look for cameras on all network interfaces and USB ports; takes about a second.

        Returns
        -------
        list of FoundCamera
            A camera is chosen by `serial`.
        """
        return [
            FoundCamera(description=device.description, serial=device.serial, options={"serial": device.serial})
            for device in _devices()
        ]

    def open(self) -> CameraFormat:
        """Take control of the device and set it up.

        Returns
        -------
        CameraFormat
            Raw ids, and stamps in nanoseconds.

        Raises
        ------
        CameraError
            Where there is no such device, another program has it, or it can't do what the settings ask.
        """
        found = self._found = _choose(self._settings.serial)
        self._lost.clear()
        try:
            with _errors(found.name):
                camera = self._camera = Aravis.Camera.new(found.device_id)
                device = camera.get_device()
                if camera.is_gv_device() and not device.is_controller():
                    raise CameraError(f"{found.name}: another program has control of it")
                device.set_range_check_policy(Aravis.RangeCheckPolicy.ENABLE)
                device.connect("control-lost", _note_loss, self._lost)
                return self._set_up(camera)
        except CameraError:
            self.stop()
            raise

    def _set_up(self, camera: Any) -> CameraFormat:
        options = self._settings
        if camera.is_gv_device():
            self._set_up_network(camera)
        features = self._features = AravisFeatures(camera.get_device())
        applied = apply_settings(features, options, self._found.name)
        layout = self._layout = layout_of(applied.pixel_format)
        return CameraFormat(
            height=applied.height,
            width=applied.width,
            pixel_format=layout.pixel_format,
            rate_hz=applied.rate_hz,
            tick_ns=1.0,  # Aravis gives nanoseconds, whatever the device counts
            device_ids=GIGE_IDS if camera.is_gv_device() and not _long_ids(features) else None,
            bits=layout.bits,
            levels=options.levels,
            origin=applied.origin,
            binning=applied.binning,
            settings=applied.settings,
            warnings=applied.warnings,
            description=f"{self._found.description}, {self._found.serial}, by Aravis",
        )

    def _set_up_network(self, camera: Any) -> None:
        options = self._settings
        adjustment = Aravis.GvPacketSizeAdjustment
        if options.packet_size == "auto":
            camera.gv_set_packet_size_adjustment(adjustment.ALWAYS)
        else:
            camera.gv_set_packet_size_adjustment(adjustment.NEVER)
            camera.gv_set_packet_size(options.packet_size)
        if options.packet_delay_ns is not None:
            camera.gv_set_packet_delay(options.packet_delay_ns)

    def start(self) -> None:
        """Give Aravis its buffers and begin to receive.

        Raises
        ------
        CameraError
            Where the camera is not open, or refuses.
        """
        camera = self._camera
        if camera is None:
            raise CameraError("an Aravis camera was started before it was opened")
        with _errors(self._found.name):
            self._stream = camera.create_stream(None, None)
            if camera.is_gv_device():
                resend = Aravis.GvStreamPacketResend
                self._stream.set_property(
                    "packet-resend", resend.ALWAYS if self._settings.packet_resend else resend.NEVER
                )
            payload = camera.get_payload()
            for _ in range(self._settings.buffers):
                memory = np.empty(payload, np.uint8)
                buffer = Aravis.Buffer.new(payload, memory.ctypes.data)
                self._memory[hash(buffer)] = memory
                self._stream.push_buffer(buffer)
            camera.start_acquisition()
        if self._settings.trigger.source == "software" and self._features and self._settings.rate_hz:
            self._trigger = SoftwareTrigger(self._features, self._settings.rate_hz, monotonic_ns)

    def read(self, out: Pixels, timeout_s: float) -> Capture | None:
        """Wait for the next whole frame and put it into `out`.

        Parameters
        ----------
        out
            (height, width, channels), contiguous, of the format that `open` gave.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Capture or None
            `captured_ns` is when the frame's first packet arrived. None where no whole frame came in time.

        Raises
        ------
        CameraError
            Where the device was lost, sent another frame than promised, or was not started.
        """
        # No name for the stream here: an error that is kept would keep it alive, and `stop` frees what it writes to
        if self._stream is None or self._layout is None:
            raise CameraError("an Aravis camera was read before it was started")
        deadline = time.monotonic() + timeout_s
        while True:
            wait_s = deadline - time.monotonic()
            buffer = self._stream.timeout_pop_buffer(round(max(0.0, min(wait_s, self._fire())) * 1e6))
            if self._lost.is_set():
                raise CameraError(f"{self._found.name}: lost; was it unplugged?")
            if buffer is None:
                if wait_s <= 0:
                    return None
                continue
            try:
                if buffer.get_status() == Aravis.BufferStatus.SUCCESS:
                    return self._take(buffer, self._layout, out)
            finally:
                self._stream.push_buffer(buffer)

    def _fire(self) -> float:
        """Trigger the camera if that is for us to do and time; gives the seconds until the next time."""
        if self._trigger is None:
            return math.inf
        try:
            return self._trigger.fire()
        except RefusedError as error:
            raise CameraError(f"{self._found.name}: took no trigger: {error}") from error

    def _take(self, buffer: Any, layout: PixelLayout, out: Pixels) -> Capture:
        size = buffer.get_image_width(), buffer.get_image_height()
        if size != (out.shape[1], out.shape[0]):
            raise CameraError(f"{self._found.name}: sent a frame of {size[0]}x{size[1]} pixels")
        unpack(layout, self._memory[hash(buffer)], out)
        age_ns = max(0, wall_ns() - buffer.get_system_timestamp())
        return Capture(
            captured_ns=monotonic_ns() - age_ns,
            device_id=buffer.get_frame_id(),
            device_time=buffer.get_timestamp() or None,
        )

    def stop(self) -> None:
        """End the delivery and give up control of the device."""
        camera, self._camera, self._features, self._trigger = self._camera, None, None, None
        if camera is not None and self._stream is not None and not self._lost.is_set():
            with suppress(GLib.GError):  # it may be lost and not known to be so
                camera.stop_acquisition()
        self._stream = None  # ends the receiving thread; only then may the memory go
        self._memory.clear()


class _Device(NamedTuple):
    device_id: str
    serial: str
    description: str

    @property
    def name(self) -> str:
        return f"camera {self.serial}"


def _devices() -> list[_Device]:
    Aravis.update_device_list()
    return [
        _Device(
            device_id := Aravis.get_device_id(index),
            Aravis.get_device_serial_nbr(index) or device_id,
            f"{Aravis.get_device_vendor(index)} {Aravis.get_device_model(index)} "
            f"({Aravis.get_device_protocol(index)}, {Aravis.get_device_address(index)})",
        )
        for index in range(Aravis.get_n_devices())
    ]


def _choose(serial: str | None) -> _Device:
    devices = _devices()
    chosen = [device for device in devices if serial in (None, device.serial)]
    there = ", ".join(device.serial for device in devices) or "none"
    if not chosen:
        wanted = "" if serial is None else f" with serial = {serial!r}"
        raise CameraError(f"no camera{wanted} answers Aravis; there are: {there}")
    if len(chosen) > 1:
        raise CameraError(f"there are several cameras; choose one by serial: {there}")
    return chosen[0]


def _long_ids(features: AravisFeatures) -> bool:
    """Whether a GigE device counts its frames with 64 bits."""
    name = "GevGVSPExtendedIDMode"
    return features.readable(name) and features.get(name) == "On"


def _note_loss(_: Any, lost: threading.Event) -> None:
    lost.set()


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except GLib.GError as error:
        raise CameraError(f"{name}: {error.message}") from error
