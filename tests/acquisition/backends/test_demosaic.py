import numpy as np
import pytest

from posestream.acquisition.backends.demosaic import layout_of, unpack
from posestream.acquisition.camera import CameraError

HEIGHT, WIDTH = 48, 64


def bits_of(values: np.ndarray, bits: int) -> np.ndarray:
    """(values, bits), the lowest first."""
    return values.reshape(-1, 1) >> np.arange(bits) & 1


def packed(values: np.ndarray, bits: int, packing: str) -> np.ndarray:
    """Pack bit by bit, as the standards draw it."""
    if packing == "":
        return values.astype("<u2" if bits > 8 else "u1").reshape(-1).view(np.uint8)
    single = bits_of(values, bits)
    if packing == "p":
        return np.packbits(single.reshape(-1), bitorder="little")
    low, pad = bits - 8, np.zeros((len(single) // 2, 12 - bits), single.dtype)
    first, second = single[0::2], single[1::2]
    rows = np.hstack([first[:, low:], first[:, :low], pad, second[:, :low], pad, second[:, low:]])
    return np.packbits(rows.reshape(-1), bitorder="little")


@pytest.mark.parametrize(
    ("name", "bits", "packing"),
    [
        ("Mono8", 8, ""),
        ("Mono10", 10, ""),
        ("Mono12", 12, ""),
        ("Mono14", 14, ""),
        ("Mono16", 16, ""),
        ("Mono10p", 10, "p"),
        ("Mono12p", 12, "p"),
        ("Mono10Packed", 10, "Packed"),
        ("Mono12Packed", 12, "Packed"),
    ],
)
def test_every_value_arrives(name: str, bits: int, packing: str) -> None:
    layout = layout_of(name)
    values = np.random.default_rng(0).integers(0, 2**bits, (HEIGHT, WIDTH, 1))
    raw = packed(values, bits, packing)
    out = np.zeros(values.shape, np.uint16 if bits > 8 else np.uint8)
    assert (layout.pixel_format, layout.bits, layout.bytes_of(HEIGHT, WIDTH)) == ("gray8", bits, raw.size)
    unpack(layout, np.append(raw, np.uint8(7)), out)  # drivers append what they like
    assert np.array_equal(out, values)


@pytest.mark.parametrize("name", ["Mono10p", "Mono12p"])
def test_packed_values_that_do_not_fill_the_last_group(name: str) -> None:
    layout = layout_of(name)
    values = np.arange(15).reshape(3, 5, 1) * 50
    out = np.zeros(values.shape, np.uint16)
    raw = packed(values, layout.bits, "p")
    assert raw.size == layout.bytes_of(3, 5)
    unpack(layout, raw, out)
    assert np.array_equal(out, values)


def mosaic(colours: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor under such a filter sees; the pattern is the colours of the upper left four pixels, row by row."""
    seen = np.empty(colours.shape[:2], colours.dtype)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        seen[row::2, column::2] = colours[row::2, column::2, "RGB".index(letter)]
    return seen


@pytest.mark.parametrize(
    ("order", "pattern"), [("RG", "RGGB"), ("GR", "GRBG"), ("GB", "GBRG"), ("BG", "BGGR")], ids=lambda text: text
)
@pytest.mark.parametrize(("coding", "bits"), [("8", 8), ("10", 10), ("12", 12), ("12p", 12), ("12Packed", 12)])
def test_colours_come_out_of_a_mosaic(order: str, pattern: str, coding: str, bits: int) -> None:
    layout = layout_of(f"Bayer{order}{coding}")
    largest = 2**bits - 1
    colours = np.empty((HEIGHT, WIDTH, 3), np.int64)
    colours[:, : WIDTH // 2] = (largest, largest // 2, largest // 10)  # orange
    colours[:, WIDTH // 2 :] = (largest // 20, largest // 4, largest)  # blue
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint16 if bits > 8 else np.uint8)
    unpack(layout, packed(mosaic(colours, pattern), bits, coding.removeprefix(str(bits))), out)
    assert (layout.pixel_format, layout.bits) == ("rgb24", bits)
    away_from_the_edge = np.r_[2 : WIDTH // 2 - 2, WIDTH // 2 + 2 : WIDTH - 2]
    assert np.array_equal(out[2:-2, away_from_the_edge], colours[2:-2, away_from_the_edge])


@pytest.mark.parametrize(
    ("name", "pixel_format"), [("RGB8", "rgb24"), ("BGR8", "bgr24"), ("RGBa8", "rgb24"), ("BGRa8", "bgr24")]
)
def test_interleaved_colours(name: str, pixel_format: str) -> None:
    layout = layout_of(name)
    raw = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, layout.values), np.uint8)
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    unpack(layout, raw.reshape(-1), out)
    assert layout.pixel_format == pixel_format
    assert np.array_equal(out, raw[..., :3])


@pytest.mark.parametrize("name", ["YUV411_8", "Mono9", "BayerRG14p", "Mono14p", "Coord3D_ABC32f", ""])
def test_a_format_that_can_not_be_read_is_named(name: str) -> None:
    with pytest.raises(CameraError, match=f'pixel_format = "{name}"'):
        layout_of(name)


def test_a_buffer_that_is_too_short_is_an_error() -> None:
    with pytest.raises(CameraError, match="64x48 Mono12p takes 4608 bytes, the camera sent 4607"):
        unpack(layout_of("Mono12p"), np.zeros(4607, np.uint8), np.zeros((HEIGHT, WIDTH, 1), np.uint16))
