import numpy as np
import pytest

from posestream.acquisition.camera import CameraError, CameraFormat
from posestream.acquisition.depth import EightBits, fit_depth


def camera(bits: int, levels: tuple[int, int] | None = None) -> CameraFormat:
    return CameraFormat(height=64, width=1024, pixel_format="gray8", bits=bits, levels=levels)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("levels", [None, (0, 500), (100, 1023), (333, 334)])
def test_levels_become_black_and_white_and_all_between_lies_on_a_line(
    bits: int, levels: tuple[int, int] | None
) -> None:
    low, high = levels or (0, 2**bits - 1)
    values = (np.arange(65_536) % 2**bits).astype(np.uint16).reshape(64, 1024, 1)
    scaled = EightBits(camera(bits, levels)).scale(values)
    expected = np.clip((values.astype(float) - low) * 255 / (high - low), 0, 255)
    assert scaled.dtype == np.uint8
    assert np.abs(scaled - expected).max() <= 0.5001
    assert values.flat[700] == 700  # the camera's frame is left as it is: the recorder has it


def test_each_frame_has_memory_of_its_own() -> None:
    eight_bits = EightBits(camera(12, (10, 4095)))
    first = eight_bits.scale(np.full((64, 1024, 1), 4095, np.uint16))
    eight_bits.scale(np.zeros((64, 1024, 1), np.uint16))
    assert (first == 255).all()


@pytest.mark.parametrize("levels", [(5, 5), (9, 3), (-1, 8), (0, 4096)])
def test_levels_that_can_not_be_are_refused(levels: tuple[int, int]) -> None:
    with pytest.raises(CameraError, match=r"levels = .* 0 to 4095, .* 12 bits"):
        EightBits(camera(12, levels))


def test_shifting_to_more_bits_can_be_undone() -> None:
    values = np.arange(1024, dtype=np.uint16)
    assert np.array_equal(fit_depth(fit_depth(values, 10, 16), 16, 10), values)
    assert fit_depth(values, 10, 16).max() == 1023 << 6
    assert np.array_equal(fit_depth(values, 10, 9), values >> 1)
