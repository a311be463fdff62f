"""The vocabulary of the rig, spoken to any GenICam device by the names of the Standard Features Naming Convention.

What differs between SDKs is how a feature is reached; a backend implements `Features` over its SDK in a few lines.
Devices differ too: older names are tried where the newer is missing, and what is missing altogether is an error that
says so, never a setting that silently did nothing.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from posestream.acquisition.backends.vocabulary import DeviceSettings
from posestream.acquisition.camera import CameraError
from posestream.stream.wire.wording import near

__all__ = [
    "KINDS",
    "Applied",
    "Features",
    "Kind",
    "RefusedError",
    "SoftwareTrigger",
    "Value",
    "apply_settings",
    "choose",
    "tick_ns_of",
]

Value = bool | int | float | str
Kind = Literal["boolean", "integer", "float", "enum", "string", "command"]

KINDS: dict[int, Kind] = {2: "integer", 3: "boolean", 4: "command", 5: "float", 6: "string", 9: "enum"}
"""By the number that GenICam's reference implementation gives the interface."""
EXPOSURE = ("ExposureTime", "ExposureTimeAbs")
RATE = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
RATE_ENABLE = ("AcquisitionFrameRateEnable", "AcquisitionFrameRateEnabled")
RESULTING_RATE = ("ResultingFrameRate", "ResultingFrameRateAbs", "AcquisitionResultingFrameRate")
RATIO = ("BalanceRatio", "BalanceRatioAbs")
PIXEL_FORMATS = {
    "gray8": ("Mono8",),
    "rgb24": ("RGB8", "RGB8Packed", "RGBa8", "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8"),
    "bgr24": ("BGR8", "BGR8Packed", "BGRa8"),
}
"""Names of the rig, and what a device may call a format that gives such frames, the best first."""
ROUNDING = 1e-3
"""Relative difference of a value read back that is a device's rounding, and nothing to warn about."""


class RefusedError(Exception):
    """A device or its SDK would not do what a feature was asked for; the text is the SDK's."""


class Features(Protocol):
    """The features of one open device; names are the device's own.

    All but `names`, `kind`, `readable` and `writable` are called for features that are there, and raise `RefusedError`
    where the device won't.
    """

    def names(self) -> list[str]:
        """Give the names of all features."""
        ...

    def kind(self, name: str) -> Kind | None:
        """Say what the feature is; none where it is not implemented or not available now."""
        ...

    def readable(self, name: str) -> bool:
        """Whether it can be read now."""
        ...

    def writable(self, name: str) -> bool:
        """Whether it can be set, or executed, now."""
        ...

    def get(self, name: str) -> Value:
        """Read a value; of an enumeration, the entry's name."""
        ...

    def set(self, name: str, value: Value) -> None:
        """Set a value of the feature's own type; of an enumeration, by the entry's name."""
        ...

    def bounds(self, name: str) -> tuple[float, float, float]:
        """Give the least and largest value of a number and its increment; 0 where any value between will do."""
        ...

    def entries(self, name: str) -> list[str]:
        """Give the entries of an enumeration that are available now."""
        ...

    def execute(self, name: str) -> None:
        """Execute a command."""
        ...


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


def apply_settings(features: Features, settings: DeviceSettings, title: str) -> Applied:
    """Set a device up as the rig says and read back what it took; it must not be delivering.

    Parameters
    ----------
    features
        The open device's features.
    settings
        The rig's.
    title
        The device, for messages.

    Returns
    -------
    Applied
        What goes into `CameraFormat`.

    Raises
    ------
    CameraError
        Where the device can't do it: which setting, which feature, and what the device offers.
    """
    device = _Device(features, title)
    # What the format, the binning and the exposure are decides how large a region and how high a rate can be
    _set_pixel_format(device, settings)
    _set_binning(device, settings)
    _set_region(device, settings)
    _set_exposure(device, settings)
    _set_gain(device, settings)
    _set_white_balance(device, settings)
    _set_trigger(device, settings)
    _set_rate(device, settings)
    _set_exposure_line(device, settings)
    for name, value in settings.nodes.items():
        device.set_named(f"nodes.{name}", name, value)
    return _read_back(device, settings)


def tick_ns_of(features: Features) -> float | None:
    """Nanoseconds of a tick of the device's time stamps; none where it does not say."""
    with contextlib.suppress(RefusedError):
        if features.readable("GevTimestampTickFrequency"):
            frequency = float(features.get("GevTimestampTickFrequency"))
            return 1e9 / frequency if frequency > 0 else None
    # The naming convention has nanoseconds wherever there is no frequency
    if any(features.kind(name) is not None for name in ("TimestampLatchValue", "TimestampLatch", "Timestamp")):
        return 1.0
    return None


class SoftwareTrigger:
    """Triggers a device at a rate; called between reads, from their thread.

    Parameters
    ----------
    features
        The device's features.
    rate_hz
        Triggers a second.
    clock
        Gives nanoseconds.
    """

    def __init__(self, features: Features, rate_hz: float, clock: Callable[[], int]) -> None:
        self._features, self._clock = features, clock
        self._period_ns = 1e9 / rate_hz
        self._begin_ns = clock()
        self._count = 0

    def fire(self) -> float:
        """Trigger if it is time; gives the seconds until the next one is due.

        A trigger that is late by more than a period is not made up for.

        Raises
        ------
        RefusedError
            Where the device does not take it.
        """
        late_ns = self._clock() - self._begin_ns - self._count * self._period_ns
        if late_ns >= 0:
            self._features.execute("TriggerSoftware")
            skipped = int(late_ns // self._period_ns)
            self._count += 1 + skipped
            late_ns -= (1 + skipped) * self._period_ns
        return max(0.0, -late_ns / 1e9)


@dataclass
class _Device:
    """A device's features, with errors for people."""

    features: Features
    title: str
    wishes: dict[str, tuple[str, Value]] = field(default_factory=dict)
    """Of each setting that was set: the feature and the value that it was given."""

    def first(self, names: tuple[str, ...]) -> str | None:
        """Give the first of the names that the device has."""
        return next((name for name in names if self.features.kind(name) is not None), None)

    def needed(self, key: str, names: tuple[str, ...]) -> str:
        """Give the first of the names that the device has, which it must."""
        if (name := self.first(names)) is not None:
            return name
        every = self.features.names()
        hint = next(filter(None, (near(name, set(every) - set(names)) for name in names)), "")
        raise self.error(key, f"the camera has no {' or '.join(names)}{hint}")

    def error(self, key: str, text: str) -> CameraError:
        return CameraError(f"{self.title}: {key}: {text}")

    def read(self, *names: str) -> Value | None:
        """Read the first of the features that can be read."""
        for name in names:
            with contextlib.suppress(RefusedError):
                if self.features.readable(name):
                    return self.features.get(name)
        return None

    def number(self, *names: str) -> float | None:
        value = self.read(*names)
        return float(value) if isinstance(value, int | float) else None

    def offer(self, name: str, value: Value) -> bool:
        """Set a feature where the device has it and it can be set; gives whether the feature has that value now."""
        with contextlib.suppress(RefusedError):
            kind = self.features.kind(name)
            if kind is None or (kind == "enum" and value not in self.features.entries(name)):
                return False
            if self.features.readable(name) and self.features.get(name) == value:
                return True
            if self.features.writable(name):
                self.features.set(name, value)
                return True
        return False

    def set_named(self, key: str, name: str, value: Value, *, check: bool = True) -> None:
        """Set a feature that must be there to a value that it must take."""
        self.needed(key, (name,))
        kind = self.features.kind(name)
        asked = f"{key} = {_shown(value)}"
        try:
            fitted = self._fitted(asked, name, kind, value)
            if kind != "command" and self.features.readable(name) and self.features.get(name) == fitted:
                pass
            elif not self.features.writable(name):
                now = self.read(name)
                held = f" and is {_shown(now)}" if now is not None else ""
                raise self.error(asked, f"{name} can't be set on this camera, or not now{held}")
            elif kind == "command":
                self.features.execute(name)
            else:
                self.features.set(name, fitted)
        except RefusedError as error:
            raise self.error(asked, f"the camera refused {name}: {error}") from error
        if check and kind != "command":
            self.wishes[key] = (name, fitted)

    def _fitted(self, asked: str, name: str, kind: Kind | None, value: Value) -> Value:
        match kind:
            case "boolean" | "command":
                if not isinstance(value, bool) or (kind == "command" and not value):
                    takes = "is a command, and true executes it" if kind == "command" else "takes true or false"
                    raise self.error(asked, f"{name} {takes}")
            case "enum":
                entries = self.features.entries(name)
                if value not in entries:
                    offers = ", ".join(entries) or "nothing now"
                    raise self.error(asked, f"{name} offers {offers}{near(str(value), entries)}")
            case "string":
                if not isinstance(value, str):
                    raise self.error(asked, f"{name} takes text")
            case _:
                return self._fitted_number(asked, name, kind, value)
        return value

    def _fitted_number(self, asked: str, name: str, kind: Kind | None, value: Value) -> Value:
        whole = kind == "integer"
        if isinstance(value, bool | str) or (whole and value != round(value)):
            raise self.error(asked, f"{name} takes a {'whole ' if whole else ''}number")
        least, most, step = self.features.bounds(name)
        by = f" in steps of {step:g}" if step not in (0, 1) or (not whole and step) else ""
        # The limits themselves are floats that a person reads rounded
        if not (value >= least or math.isclose(value, least)) or not (value <= most or math.isclose(value, most)):
            raise self.error(asked, f"{name} takes {_shown(least)} to {_shown(most)}{by}")
        if whole and step > 1 and (value - least) % step:
            below = int(least + (value - least) // step * step)
            above = f" and {below + int(step)}" if below + step <= most else ""
            raise self.error(asked, f"{name} takes {_shown(least)} to {_shown(most)}{by}; next to it {below}{above}")
        return round(value) if whole else float(min(max(value, least), most))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else f"{value:.6g}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _set_pixel_format(device: _Device, settings: DeviceSettings) -> None:
    if settings.pixel_format is None:
        return
    name = device.needed("pixel_format", ("PixelFormat",))
    entries = device.features.entries(name)
    words = PIXEL_FORMATS.get(settings.pixel_format, (settings.pixel_format,))
    found = next((word for word in words if word in entries), words[0])
    if found not in entries and settings.pixel_format in PIXEL_FORMATS:
        text = f"none of {', '.join(words)} is among the camera's formats: {', '.join(entries)}"
        raise device.error(f'pixel_format = "{settings.pixel_format}"', text)
    device.set_named("pixel_format", name, found)


def _set_binning(device: _Device, settings: DeviceSettings) -> None:
    if settings.binning is None or (settings.binning == 1 and device.first(("BinningHorizontal",)) is None):
        return
    for name in ("BinningHorizontal", "BinningVertical"):
        device.set_named("binning", name, settings.binning)


def _set_region(device: _Device, settings: DeviceSettings) -> None:
    for side, size, offset, length, begin in (
        ("width", "Width", "OffsetX", settings.width, settings.offset_x),
        ("height", "Height", "OffsetY", settings.height, settings.offset_y),
    ):
        if length is None and begin is None:
            continue
        before = device.number(offset)
        # The offset out of the way first: it and the length share the sensor
        with contextlib.suppress(RefusedError):
            if before and device.features.writable(offset):
                device.features.set(offset, int(device.features.bounds(offset)[0]))
        if length is not None:
            device.set_named(side, size, length)
        if begin is not None and not (begin == 0 and device.first((offset,)) is None):
            device.set_named(f"offset_{offset[-1].lower()}", offset, begin)
        elif before:
            with contextlib.suppress(RefusedError):
                least, most, step = device.features.bounds(offset)
                kept = min(before, most)
                device.offer(offset, int(kept - (kept - least) % (step or 1)))


def _set_exposure(device: _Device, settings: DeviceSettings) -> None:
    asked = settings.exposure_us
    if asked is None:
        return
    if asked == "auto":
        device.set_named("exposure_us", device.needed("exposure_us", ("ExposureAuto",)), "Continuous")
        return
    device.offer("ExposureMode", "Timed")
    device.offer("ExposureAuto", "Off")
    for name in RATE_ENABLE:  # a rate that was set before limits the exposure
        device.offer(name, value=False)
    device.set_named("exposure_us", device.needed("exposure_us", EXPOSURE), float(asked))


def _set_gain(device: _Device, settings: DeviceSettings) -> None:
    asked = settings.gain_db
    if asked is None:
        return
    if asked == "auto":
        device.set_named("gain_db", device.needed("gain_db", ("GainAuto",)), "Continuous")
        return
    device.offer("GainAuto", "Off")
    if device.first(("Gain",)) is None and device.first(("GainRaw",)) is not None:
        least, most, _ = device.features.bounds("GainRaw")
        text = f"the camera's gain is not in decibels; set nodes.GainRaw, {_shown(least)} to {_shown(most)}"
        raise device.error(f"gain_db = {asked:g}", text)
    device.set_named("gain_db", "Gain", float(asked))


def _set_white_balance(device: _Device, settings: DeviceSettings) -> None:
    asked = settings.white_balance
    if asked is None:
        return
    if asked == "auto":
        device.set_named("white_balance", device.needed("white_balance", ("BalanceWhiteAuto",)), "Continuous")
        return
    device.offer("BalanceWhiteAuto", "Off")
    ratio = device.needed("white_balance", RATIO)
    selector = device.needed("white_balance", ("BalanceRatioSelector",))
    factors = dict(zip(("Red", "Green", "Blue"), asked, strict=True))
    if "Green" not in device.features.entries(selector):  # then green is what the others are relative to
        green = factors.pop("Green")
        factors = {colour: factor / green for colour, factor in factors.items()}
    for colour, factor in factors.items():
        device.set_named("white_balance", selector, colour, check=False)
        device.set_named(f"white_balance {colour.lower()}", ratio, factor, check=False)


def _set_trigger(device: _Device, settings: DeviceSettings) -> None:
    trigger = settings.trigger
    free = trigger.source == "free-run"
    if device.first(("TriggerMode",)) is None:
        if free:
            return
        device.needed(f'trigger.source = "{trigger.source}"', ("TriggerMode",))
    for kind in _selections(device, "TriggerSelector"):
        if device.offer("TriggerSelector", kind):
            device.offer("TriggerMode", "Off")
    if device.first(("TriggerSelector",)) is None:
        device.offer("TriggerMode", "Off")
    else:
        device.offer("TriggerSelector", "FrameStart")
    if free:
        return
    if trigger.source == "software":
        if settings.rate_hz is None:
            raise device.error('trigger.source = "software"', "set rate_hz too, the triggers a second")
        device.set_named("trigger.source", "TriggerSource", "Software")
        device.needed('trigger.source = "software"', ("TriggerSoftware",))
    else:
        device.set_named("trigger.source", "TriggerSource", trigger.source)
        edge = "RisingEdge" if trigger.edge == "rising" else "FallingEdge"
        device.set_named("trigger.edge", "TriggerActivation", edge)
    device.set_named("trigger.source", "TriggerMode", "On", check=False)


def _set_rate(device: _Device, settings: DeviceSettings) -> None:
    if settings.trigger.source != "free-run":
        for name in RATE_ENABLE:  # the signal decides
            device.offer(name, value=False)
        return
    if settings.rate_hz is None:
        return
    rate = device.needed("rate_hz", RATE)
    for name in RATE_ENABLE:
        device.offer(name, value=True)
    device.offer("AcquisitionFrameRateAuto", "Off")
    device.set_named("rate_hz", rate, float(settings.rate_hz))


def _set_exposure_line(device: _Device, settings: DeviceSettings) -> None:
    if settings.exposure_line is None:
        return
    key = "exposure_line"
    device.set_named(key, "LineSelector", settings.exposure_line)
    device.offer("LineMode", "Output")
    if device.read("LineMode") not in ("Output", None):
        offered = [line for line in _selections(device, "LineSelector") if device.read("LineMode") == "Output"]
        text = f"the line can't be an output; outputs are {', '.join(offered) or 'none'}"
        raise device.error(f'{key} = "{settings.exposure_line}"', text)
    device.set_named(key, "LineSource", "ExposureActive", check=False)


def _selections(device: _Device, selector: str) -> Iterator[str]:
    """Go through the entries of a selector, leaving it as it was."""
    if device.first((selector,)) is None:
        return
    before = device.read(selector)
    for entry in device.features.entries(selector):
        if device.offer(selector, entry):
            yield entry
    if before is not None:
        device.offer(selector, before)


def _read_back(device: _Device, settings: DeviceSettings) -> Applied:
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


def _manual(device: _Device, auto: str, names: tuple[str, ...]) -> Value | None:
    return "auto" if device.read(auto) in ("Continuous", "Once") else device.read(*names)


def _white_balance(device: _Device) -> str | None:
    if device.read("BalanceWhiteAuto") in ("Continuous", "Once"):
        return "auto"
    factors = {colour: device.number(*RATIO) for colour in _selections(device, "BalanceRatioSelector")}
    given = [f"{colour.lower()} {factor:.6g}" for colour, factor in factors.items() if factor is not None]
    return ", ".join(given) or None


def _trigger_source(device: _Device) -> Value | None:
    if device.read("TriggerMode") != "On":
        return "free-run"
    source = device.read("TriggerSource")
    return "software" if source == "Software" else source


def _differences(device: _Device, settings: DeviceSettings, rate_hz: float | None) -> Iterator[str]:
    for key, (name, value) in device.wishes.items():
        # Read again now: what was set later may have changed it
        now = device.read(name)
        if now is not None and not _same(value, now):
            yield f"{key} was set to {_shown(value)}, and {name} is {_shown(now)}"
    # The rate that it took, which its exposure or its link may not allow
    asked = device.number(*RATE) if "rate_hz" in device.wishes else None
    resulting = device.number(*RESULTING_RATE)
    if asked is not None and resulting is not None and not _same(asked, resulting):
        yield f"rate_hz is {_shown(asked)}, and the camera will give {_shown(rate_hz)} frames a second"
    if isinstance(settings.white_balance, tuple) and "Green" in device.features.entries("BalanceRatioSelector"):
        for colour, factor in zip(("Red", "Green", "Blue"), settings.white_balance, strict=True):
            device.offer("BalanceRatioSelector", colour)
            now = device.number(*RATIO)
            if now is not None and not _same(factor, now):
                yield f"white_balance {colour.lower()} was set to {_shown(factor)}, and is {_shown(now)}"


def _same(asked: Value, now: Value) -> bool:
    if isinstance(asked, float) and isinstance(now, int | float):
        return math.isclose(asked, now, rel_tol=ROUNDING, abs_tol=1e-9)
    return asked == now
