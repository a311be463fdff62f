"""What a GenICam device took of the settings, read back in the words of the rig, and what it took otherwise."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from posestream.acquisition.backends.feature_setter import FeatureSetter, shown
from posestream.acquisition.backends.genicam_features import EXPOSURE, RATE, RATIO, Value
from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError

__all__ = ["Applied", "read_back"]

RESULTING_RATE = ("ResultingFrameRate", "ResultingFrameRateAbs", "AcquisitionResultingFrameRate")
ROUNDING = 1e-3
"""Relative difference of a value read back that is a device's rounding, and nothing to warn about."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What the device took."""

    width: int
    """Columns of a frame."""
    height: int
    """Rows of a frame."""
    pixel_format: str
    """The device's name of its pixel format."""
    rate_hz: float | None
    """Frames a second that it will give, or will be triggered at; none where it does not say."""
    origin: tuple[int, int]
    """Column and row of the sensor at which a frame begins, sensor pixels."""
    binning: tuple[int, int]
    """Sensor columns and rows of a pixel."""
    settings: dict[str, bool | int | float | str]
    """All that was read back, in the words of the rig."""
    warnings: tuple[str, ...]
    """Where that is not what was asked."""


def read_back(device: FeatureSetter, settings: DeviceSettings) -> Applied:
    """Read what a device that was set up has taken.

    Raises
    ------
    CameraError
        Where it does not say what frames it gives.
    """
    width, height = device.number("Width"), device.number("Height")
    pixel_format = device.read("PixelFormat")
    if not width or not height or not isinstance(pixel_format, str):
        raise CameraError(f"{device.title}: the camera does not say what frames it gives (Width, Height, PixelFormat)")
    binning = (int(device.number("BinningHorizontal") or 1), int(device.number("BinningVertical") or 1))
    offset = (int(device.number("OffsetX") or 0), int(device.number("OffsetY") or 0))
    free = settings.trigger.source == "free-run"
    rate_hz = (device.number(*RESULTING_RATE) or device.number(*RATE)) if free else settings.rate_hz
    taken: dict[str, Value | None] = {
        "width": int(width),
        "height": int(height),
        "offset_x": offset[0],
        "offset_y": offset[1],
        "binning": binning[0] if binning[0] == binning[1] else f"{binning[0]}x{binning[1]}",
        "pixel_format": pixel_format,
        "rate_hz": rate_hz,
        "exposure_us": _manual(device, "ExposureAuto", EXPOSURE),
        "gain_db": _manual(device, "GainAuto", ("Gain",)),
        "white_balance": _white_balance(device),
        "trigger.source": _trigger_source(device),
        "exposure_line": settings.exposure_line,
    }
    for key, (name, _) in device.wishes.items():
        if key.startswith("nodes.") or key == "trigger.edge":
            taken[key] = device.read(name)
    return Applied(
        width=int(width),
        height=int(height),
        pixel_format=pixel_format,
        rate_hz=rate_hz,
        origin=(offset[0] * binning[0], offset[1] * binning[1]),
        binning=binning,
        settings={key: value for key, value in taken.items() if value is not None},
        warnings=tuple(_differences(device, settings, rate_hz)),
    )


def _manual(device: FeatureSetter, auto: str, names: tuple[str, ...]) -> Value | None:
    return "auto" if device.read(auto) in ("Continuous", "Once") else device.read(*names)


def _white_balance(device: FeatureSetter) -> str | None:
    if device.read("BalanceWhiteAuto") in ("Continuous", "Once"):
        return "auto"
    factors = {colour: device.number(*RATIO) for colour in device.selections("BalanceRatioSelector")}
    given = [f"{colour.lower()} {factor:.6g}" for colour, factor in factors.items() if factor is not None]
    return ", ".join(given) or None


def _trigger_source(device: FeatureSetter) -> Value | None:
    if device.read("TriggerMode") != "On":
        return "free-run"
    source = device.read("TriggerSource")
    return "software" if source == "Software" else source


def _differences(device: FeatureSetter, settings: DeviceSettings, rate_hz: float | None) -> Iterator[str]:
    for key, (name, value) in device.wishes.items():
        # Read again now: what was set later may have changed it
        now = device.read(name)
        if now is not None and not _same(value, now):
            yield f"{key} was set to {shown(value)}, and {name} is {shown(now)}"
    # The rate that it took, which its exposure or its link may not allow
    asked = device.number(*RATE) if "rate_hz" in device.wishes else None
    resulting = device.number(*RESULTING_RATE)
    if asked is not None and resulting is not None and not _same(asked, resulting):
        yield f"rate_hz is {shown(asked)}, and the camera will give {shown(rate_hz)} frames a second"
    if isinstance(settings.white_balance, tuple) and "Green" in device.features.entries("BalanceRatioSelector"):
        for colour, factor in zip(("Red", "Green", "Blue"), settings.white_balance, strict=True):
            device.offer("BalanceRatioSelector", colour)
            now = device.number(*RATIO)
            if now is not None and not _same(factor, now):
                yield f"white_balance {colour.lower()} was set to {shown(factor)}, and is {shown(now)}"


def _same(asked: Value, now: Value) -> bool:
    if isinstance(asked, float) and isinstance(now, int | float):
        return math.isclose(asked, now, rel_tol=ROUNDING, abs_tol=1e-9)
    return asked == now
