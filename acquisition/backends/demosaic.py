"""From a device's buffer to a frame: packed values are unpacked, Bayer mosaics become colour.

Formats are named as GenICam's Pixel Format Naming Convention (PFNC) and GigE Vision name them. Values keep their bits:
a frame of `Mono12` or `BayerRG12p` is uint16 with values from 0 to 4095.
"""

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.camera import CameraError, Pixels
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["PixelLayout", "layout_of", "unpack"]

# GenICam's names begin with the upper left pixel, as OpenCV's names of four letters do (its names of two do not)
_BAYER = {
    "BayerRG": cv2.COLOR_BayerRGGB2RGB,
    "BayerGR": cv2.COLOR_BayerGRBG2RGB,
    "BayerGB": cv2.COLOR_BayerGBRG2RGB,
    "BayerBG": cv2.COLOR_BayerBGGR2RGB,
}
_INTERLEAVED: dict[str, tuple[PixelFormat, int, int | None]] = {
    "RGB8": ("rgb24", 3, None),
    "RGB8Packed": ("rgb24", 3, None),
    "BGR8": ("bgr24", 3, None),
    "BGR8Packed": ("bgr24", 3, None),
    "RGBa8": ("rgb24", 4, cv2.COLOR_RGBA2RGB),
    "BGRa8": ("bgr24", 4, cv2.COLOR_BGRA2BGR),
}
PIECE = 1 << 14
"""Packed values that are unpacked at a time; begins and ends between bytes."""
_ONE_CHANNEL = re.compile(r"^(Mono|Bayer(?:RG|GR|GB|BG))(?:(8)|(10|12)(p|Packed)?|(14|16))$")


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How a device lays out its pixels, and what becomes of them."""

    name: str
    """The device's name of the format."""
    pixel_format: PixelFormat
    """Pixel format of the frames."""
    bits: int
    """Bits of a value."""
    packing: str
    """`p`: values follow each other bit by bit from the lowest; `Packed`: two share three bytes, the highest bits in
    the outer ones; empty: each value has bytes of its own."""
    values: int
    """Values of a pixel in the device's buffer."""
    conversion: int | None
    """OpenCV's conversion to the frames; none: the values are the frame's."""

    def bytes_of(self, height: int, width: int) -> int:
        """Bytes of a frame in the device's buffer."""
        count = height * width * self.values
        if self.packing:
            return -(-count * (self.bits if self.packing == "p" else 12) // 8)
        return count * (2 if self.bits > 8 else 1)


def layout_of(name: str) -> PixelLayout:
    """Find out how a device's pixel format becomes frames.

    Parameters
    ----------
    name
        The device's name of it: `Mono8`, `BayerRG12p`, `RGB8` ...

    Raises
    ------
    CameraError
        Where this project can't read it.
    """
    if name in _INTERLEAVED:
        pixel_format, values, conversion = _INTERLEAVED[name]
        return PixelLayout(name, pixel_format, 8, "", values, conversion)
    if (match := _ONE_CHANNEL.match(name)) is None:
        raise CameraError(
            f'pixel_format = "{name}": these pixels can\'t be read here; what can is Mono and Bayer with 8 to 16 bits '
            f"(also 10p, 12p, 10Packed and 12Packed), {', '.join(_INTERLEAVED)}"
        )
    kind, *bits, packing, rest = match.groups()
    depth = int(next(filter(None, (*bits, rest))))
    return PixelLayout(name, "gray8" if kind == "Mono" else "rgb24", depth, packing or "", 1, _BAYER.get(kind))


def unpack(layout: PixelLayout, raw: NDArray[np.uint8], out: Pixels) -> None:
    """Put what a device sent into a frame.

    Parameters
    ----------
    layout
        The device's layout.
    raw
        (bytes,) uint8, rows without padding; what is over `layout.bytes_of` is left alone.
    out
        (height, width, channels) uint8, or uint16 where the layout has more than 8 bits; contiguous.

    Raises
    ------
    CameraError
        Where the device sent too little for such a frame.
    """
    height, width, channels = out.shape
    needed = layout.bytes_of(height, width)
    if raw.size < needed or channels != CHANNELS[layout.pixel_format]:
        raise CameraError(f"a frame of {width}x{height} {layout.name} takes {needed} bytes, the camera sent {raw.size}")
    raw = raw[:needed]
    if layout.conversion is None:
        _values(layout, raw, out.reshape(-1))
        return
    values = np.empty(height * width * layout.values, out.dtype)
    _values(layout, raw, values)
    shape = (height, width) if layout.values == 1 else (height, width, layout.values)
    cv2.cvtColor(values.reshape(shape), layout.conversion, out)


def _values(layout: PixelLayout, raw: NDArray[np.uint8], out: NDArray[Any]) -> None:
    if not layout.packing:
        np.copyto(out, raw.view(out.dtype))
        return
    # In pieces that stay in the processor's cache: several times as fast as a frame at once
    for start in range(0, out.size, PIECE):
        piece = out[start : start + PIECE]
        first = layout.bytes_of(1, start)
        values = raw[first : first + layout.bytes_of(1, piece.size)]
        if layout.packing == "p":
            _unpack_low_first(values, layout.bits, piece)
        else:
            _unpack_high_outside(values, layout.bits, piece)


def _unpack_low_first(raw: NDArray[np.uint8], bits: int, out: NDArray[np.uint16]) -> None:
    """Undo PFNC's `p`: value k begins at bit k * bits, low bits first."""
    period = 4 if bits == 10 else 2  # values, until one begins at the beginning of a byte again
    padded = np.zeros((-(-out.size // period), period * bits // 8), np.uint16)
    padded.reshape(-1)[: raw.size] = raw
    groups = np.empty((len(padded), period), np.uint16)
    for place in range(period):
        byte, shift = divmod(place * bits, 8)
        groups[:, place] = (padded[:, byte] >> shift | padded[:, byte + 1] << (8 - shift)) & (2**bits - 1)
    out[:] = groups.reshape(-1)[: out.size]


def _unpack_high_outside(raw: NDArray[np.uint8], bits: int, out: NDArray[np.uint16]) -> None:
    """Undo GigE Vision's `Packed`: the middle byte of three has the low bits of both values."""
    padded = np.zeros((-(-out.size // 2), 3), np.uint16)
    padded.reshape(-1)[: raw.size] = raw
    low, mask = bits - 8, 2 ** (bits - 8) - 1
    groups = np.empty((len(padded), 2), np.uint16)
    groups[:, 0] = padded[:, 0] << low | padded[:, 1] & mask
    groups[:, 1] = padded[:, 2] << low | padded[:, 1] >> 4 & mask
    out[:] = groups.reshape(-1)[: out.size]
