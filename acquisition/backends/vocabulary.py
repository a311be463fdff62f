"""One vocabulary for the settings of a device, whatever its maker calls them.

A backend for hardware takes `DeviceSettings`, or a subclass with what only it needs. What is not given stays as the
device has it. What a device can't do is a `CameraError` that names the setting and what the device offers; what it
took otherwise than asked is read back into `CameraFormat.settings`, with a sentence in `CameraFormat.warnings`.
"""

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from posestream.acquisition.camera import CameraError, CameraSettings

__all__ = ["DeviceSettings", "Trigger", "refuse_others"]

Side = Annotated[int, Meta(ge=1, le=65_535)]
Offset = Annotated[int, Meta(ge=0, le=65_535)]
Gain = Annotated[float, Meta(gt=0)]


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What begins the exposure of a frame."""

    source: str = "free-run"
    """`free-run`: the device's own clock. `software`: this program, at `rate_hz`. Else a line by the device's name."""
    edge: Literal["rising", "falling"] = "rising"
    """Edge of the line's signal that begins an exposure."""
    leader: str | None = None
    """The camera of the rig that gives the signal; it starts when those that follow it are waiting for it."""


class DeviceSettings(CameraSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a lab sets on a camera."""

    serial: str | None = None
    """Serial number of the device; without it, the only one that is there."""
    width: Side | None = None
    """Columns of a frame, after binning."""
    height: Side | None = None
    """Rows of a frame, after binning."""
    offset_x: Offset | None = None
    """First column of the region of the sensor that is read, in pixels after binning."""
    offset_y: Offset | None = None
    """First row of that region."""
    binning: Annotated[int, Meta(ge=1, le=16)] | None = None
    """Side of the square of sensor pixels that become one."""
    pixel_format: str | None = None
    """`gray8`, `rgb24`, `bgr24`, or what the device calls it: `Mono12`, `BayerRG8` ... (Bayer is demosaiced)."""
    levels: tuple[int, int] | None = None
    """Of pixels with more than 8 bits: the values that become 0 and 255 in the published frames; default: all."""
    rate_hz: Annotated[float, Meta(gt=0, le=100_000)] | None = None
    """Frames a second."""
    exposure_us: Annotated[float, Meta(gt=0)] | Literal["auto"] | None = None
    """Time that a frame is exposed, microseconds."""
    gain_db: float | Literal["auto"] | None = None
    """Gain of the sensor, decibels."""
    white_balance: tuple[Gain, Gain, Gain] | Literal["auto"] | None = None
    """Factors of red, green and blue."""
    trigger: Trigger = Trigger()
    """What begins the exposure of a frame."""
    exposure_line: str | None = None
    """Line that shall give out the exposure as a signal, by the device's name."""
    nodes: dict[str, bool | int | float | str] = msgspec.field(default_factory=dict)
    """Any feature of the device, by the device's own name; set last, in this order."""


def refuse_others(settings: DeviceSettings, takes: Collection[str], name: str) -> None:
    """Refuse what is set and a device can't do.

    Parameters
    ----------
    settings
        What the rig says.
    takes
        The words of the vocabulary that the device understands.
    name
        The device, for the message.

    Raises
    ------
    CameraError
        Names the setting and what the device takes instead.
    """
    defaults = DeviceSettings()
    for word in DeviceSettings.__struct_fields__:
        if word not in takes and getattr(settings, word) != getattr(defaults, word):
            raise CameraError(f"{name}: can't set {word}; of the settings for cameras it takes {', '.join(takes)}")
