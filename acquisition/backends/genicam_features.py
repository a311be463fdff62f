"""The features of a GenICam device, named as in the Standard Features Naming Convention, whatever SDK reaches them."""

import contextlib
from typing import Literal, Protocol

__all__ = [
    "EXPOSURE",
    "KINDS",
    "RATE",
    "RATIO",
    "Features",
    "Kind",
    "RefusedError",
    "Value",
    "has_long_ids",
    "tick_ns_of",
]

Value = bool | int | float | str
Kind = Literal["boolean", "integer", "float", "enum", "string", "command"]

KINDS: dict[int, Kind] = {2: "integer", 3: "boolean", 4: "command", 5: "float", 6: "string", 9: "enum"}
"""By the number that GenICam's reference implementation gives the interface."""
EXPOSURE = ("ExposureTime", "ExposureTimeAbs")
"""The convention's name and, as for those below, that of devices which are older than it."""
RATE = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
RATIO = ("BalanceRatio", "BalanceRatioAbs")


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


def has_long_ids(features: Features) -> bool:
    """Whether a GigE Vision device counts its frames with 64 bits, which never begin again at 1."""
    name = "GevGVSPExtendedIDMode"
    return features.readable(name) and features.get(name) == "On"
