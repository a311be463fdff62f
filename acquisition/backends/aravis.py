"""GigE Vision and USB3 Vision cameras without a vendor's software, by the library Aravis.

Aravis numbers what it receives by the device's own frame ids and hands out incomplete frames marked as such; those
are not delivered, so that their ids are seen to be missing. Its receiving thread writes into memory of ours, and a
frame is copied once, out of that.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.backends.aravis_features import ERRORS, AravisFeatures
from posestream.acquisition.backends.aravis_library import Aravis, GLib
from posestream.acquisition.backends.demosaic import PixelLayout, unpack
from posestream.acquisition.backends.device_camera import Connected, DeviceCamera, choose, found_camera
from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError, Capture, FoundCamera, Pixels
from posestream.stream.wire.clock import monotonic_ns, wall_ns

__all__ = ["AravisCamera", "AravisSettings"]


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


class AravisCamera(DeviceCamera[AravisSettings]):
    """The camera backend `aravis`; see `posestream.acquisition.backends.device_camera.DeviceCamera`.

    `Capture.captured_ns` is when the frame's first packet arrived.
    """

    Settings = AravisSettings
    errors = ERRORS

    def __init__(self, settings: AravisSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        super().__init__(settings, clock)
        self._name = "the Aravis camera"
        self._camera: Any = None
        self._stream: Any = None
        self._memory: dict[int, NDArray[np.uint8]] = {}
        self._lost = threading.Event()

    @staticmethod
    def find() -> list[FoundCamera]:
        """Look for cameras on all network interfaces and USB ports; takes about a second."""
        return [found_camera(device.description, device.serial) for device in _devices()]

    def _connect(self) -> Connected:
        devices = {device.serial: device for device in _devices()}
        found = devices[choose("camera", self._settings.serial, devices)]
        self._name = f"camera {found.serial}"
        self._lost.clear()
        camera = self._camera = Aravis.Camera.new(found.device_id)
        device, gige = camera.get_device(), camera.is_gv_device()
        if gige and not device.is_controller():
            raise CameraError(f"{self._name}: another program has control of it")
        device.set_range_check_policy(Aravis.RangeCheckPolicy.ENABLE)
        device.connect("control-lost", _note_loss, self._lost)
        if gige:
            self._set_up_network(camera)
        return Connected(
            features=AravisFeatures(device),
            description=f"{found.description}, {found.serial}, by Aravis",
            gige_ids=gige,
            tick_ns=1.0,  # Aravis gives nanoseconds, whatever the device counts
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

    def _begin(self) -> None:
        camera = self._camera
        self._stream = camera.create_stream(None, None)
        if camera.is_gv_device():
            resend = Aravis.GvStreamPacketResend
            self._stream.set_property("packet-resend", resend.ALWAYS if self._settings.packet_resend else resend.NEVER)
        payload = camera.get_payload()
        for _ in range(self._settings.buffers):
            memory = np.empty(payload, np.uint8)
            buffer = Aravis.Buffer.new(payload, memory.ctypes.data)
            self._memory[hash(buffer)] = memory
            self._stream.push_buffer(buffer)
        camera.start_acquisition()

    def _fetch(self, layout: PixelLayout, out: Pixels, wait_s: float) -> Capture | None:
        # No name for the stream here: an error that is kept would keep it alive, and `_release` frees what it writes to
        buffer = self._stream.timeout_pop_buffer(round(wait_s * 1e6))
        if self._lost.is_set():
            raise self._gone()
        if buffer is None:
            return None
        try:
            whole = buffer.get_status() == Aravis.BufferStatus.SUCCESS
            return self._take(buffer, layout, out) if whole else None
        finally:
            self._stream.push_buffer(buffer)

    def _take(self, buffer: Any, layout: PixelLayout, out: Pixels) -> Capture:
        size = buffer.get_image_width(), buffer.get_image_height()
        if size != (out.shape[1], out.shape[0]):
            raise CameraError(f"{self._name}: sent a frame of {size[0]}x{size[1]} pixels")
        unpack(layout, self._memory[hash(buffer)], out)
        age_ns = max(0, wall_ns() - buffer.get_system_timestamp())
        return self._captured(self._clock() - age_ns, buffer.get_frame_id(), buffer.get_timestamp())

    def _release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None and self._stream is not None and not self._lost.is_set():
            with suppress(GLib.GError):  # it may be lost and not known to be so
                camera.stop_acquisition()
        self._stream = None  # ends the receiving thread; only then may the memory go
        self._memory.clear()


class _Device(NamedTuple):
    device_id: str
    serial: str
    description: str


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


def _note_loss(_: Any, lost: threading.Event) -> None:
    lost.set()
