"""The vocabulary of the rig, spoken to any GenICam device by the names of the Standard Features Naming Convention.

Devices differ: older names are tried where the newer is missing, and what is missing altogether is an error that says
so, never a setting that silently did nothing.
"""

import contextlib

from posestream.acquisition.backends.feature_setter import FeatureSetter, shown
from posestream.acquisition.backends.genicam_features import EXPOSURE, RATE, RATIO, Features, RefusedError
from posestream.acquisition.backends.genicam_readback import Applied, read_back
from posestream.acquisition.backends.vocabulary import DeviceSettings

__all__ = ["apply_settings"]

RATE_ENABLE = ("AcquisitionFrameRateEnable", "AcquisitionFrameRateEnabled")
PIXEL_FORMATS = {
    "gray8": ("Mono8",),
    "rgb24": ("RGB8", "RGB8Packed", "RGBa8", "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8"),
    "bgr24": ("BGR8", "BGR8Packed", "BGRa8"),
}
"""Names of the rig, and what a device may call a format that gives such frames, the best first."""


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
    device = FeatureSetter(features, title)
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
    return read_back(device, settings)


def _set_pixel_format(device: FeatureSetter, settings: DeviceSettings) -> None:
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


def _set_binning(device: FeatureSetter, settings: DeviceSettings) -> None:
    if settings.binning is None or (settings.binning == 1 and device.first(("BinningHorizontal",)) is None):
        return
    for name in ("BinningHorizontal", "BinningVertical"):
        device.set_named("binning", name, settings.binning)


def _set_region(device: FeatureSetter, settings: DeviceSettings) -> None:
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


def _set_exposure(device: FeatureSetter, settings: DeviceSettings) -> None:
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


def _set_gain(device: FeatureSetter, settings: DeviceSettings) -> None:
    asked = settings.gain_db
    if asked is None:
        return
    if asked == "auto":
        device.set_named("gain_db", device.needed("gain_db", ("GainAuto",)), "Continuous")
        return
    device.offer("GainAuto", "Off")
    if device.first(("Gain",)) is None and device.first(("GainRaw",)) is not None:
        least, most, _ = device.features.bounds("GainRaw")
        text = f"the camera's gain is not in decibels; set nodes.GainRaw, {shown(least)} to {shown(most)}"
        raise device.error(f"gain_db = {asked:g}", text)
    device.set_named("gain_db", "Gain", float(asked))


def _set_white_balance(device: FeatureSetter, settings: DeviceSettings) -> None:
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


def _set_trigger(device: FeatureSetter, settings: DeviceSettings) -> None:
    trigger = settings.trigger
    free = trigger.source == "free-run"
    if device.first(("TriggerMode",)) is None:
        if free:
            return
        device.needed(f'trigger.source = "{trigger.source}"', ("TriggerMode",))
    for kind in device.selections("TriggerSelector"):
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


def _set_rate(device: FeatureSetter, settings: DeviceSettings) -> None:
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


def _set_exposure_line(device: FeatureSetter, settings: DeviceSettings) -> None:
    if settings.exposure_line is None:
        return
    key = "exposure_line"
    device.set_named(key, "LineSelector", settings.exposure_line)
    device.offer("LineMode", "Output")
    if device.read("LineMode") not in ("Output", None):
        offered = [line for line in device.selections("LineSelector") if device.read("LineMode") == "Output"]
        text = f"the line can't be an output; outputs are {', '.join(offered) or 'none'}"
        raise device.error(f'{key} = "{settings.exposure_line}"', text)
    device.set_named(key, "LineSource", "ExposureActive", check=False)
