import numpy as np
import pytest

from posestream.inference.training.augment import change_looks, cut_out, mirrored_order, scaled
from posestream.inference.training.labels import LabelledFrame

NAMES = ("snout", "leftear", "rightear", "Paw_L", "Paw_R", "left_only")


def marked(places: np.ndarray) -> LabelledFrame:
    """A picture with a soft bright spot about each place, in a colour of its own."""
    rows, columns = np.mgrid[:240, :320]
    picture = np.zeros((240, 320, 3))
    for channel, (x, y) in enumerate(places):
        picture[..., channel] = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
    return LabelledFrame("marked", lambda: picture.astype(np.uint8), places, np.ones(len(places), np.bool_))


def spot(pixels: np.ndarray, channel: int) -> np.ndarray:
    weight = np.clip(pixels[..., channel].astype(float) - 20, 0, None)
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    middle: np.ndarray = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    return middle


@pytest.mark.parametrize("scale", [1.1, 1.0, 0.7, 0.5, 0.25])
def test_marks_are_where_the_keypoints_say(rng, scale) -> None:
    places = np.array([[150.3, 100.8], [170.0, 130.0], [140.5, 121.2]])
    frame = marked(places)
    compared = 0
    for _ in range(20):
        rows, columns = np.mgrid[:128, :128]
        crop = cut_out(frame, rng, scale=scale, size=128, mirror=[0, 1, 2])
        border = np.r_[crop.pixels[0, 0], crop.pixels[-1, -1]]
        margin = 16 * scale + 1
        for channel, place in enumerate(crop.keypoints):
            if not np.isfinite(place).all() or not ((place > margin) & (place < 127 - margin)).all():
                continue
            near = (columns - place[0]) ** 2 + (rows - place[1]) ** 2 < margin**2
            if border.any() and (crop.pixels[near][:, (channel + 1) % 3] == border.max()).any():
                continue  # the fill beyond the picture is near
            window = np.where(near[..., None], crop.pixels, 0)
            np.testing.assert_allclose(spot(window, channel), place, atol=0.25)
            compared += 1
    assert compared > 15


def test_a_mirror_swaps_left_and_right() -> None:
    assert mirrored_order(NAMES) == [0, 2, 1, 4, 3, 5]
    places = np.array([[150.0, 100.0], [170.0, 130.0], [140.0, 121.0]])
    swapped = [0, 2, 1]
    turns = set()
    for seed in range(12):
        crop = cut_out(marked(places), np.random.default_rng(seed), scale=1.0, size=256, mirror=swapped)
        snout, left, right = crop.keypoints
        one, two = left - snout, right - snout
        turns.add(bool(np.sign(one[0] * two[1] - one[1] * two[0]) > 0))
    assert turns == {True}  # in the picture and in its mirror, left lies on the same side of the snout


def test_what_is_not_shown_is_missing(rng) -> None:
    places = np.array([[1.0, 1.0], [318.0, 238.0], [np.nan, np.nan]])
    for _ in range(10):
        crop = cut_out(marked(places[:2]), rng, scale=1.0, size=64, mirror=None)
        shown = np.isfinite(crop.keypoints).all(axis=1)
        assert shown.sum() <= 1
        assert ((crop.keypoints[shown] > -0.5) & (crop.keypoints[shown] < 63.5)).all()


def test_scaling_keeps_the_middle_of_pixels(rng) -> None:
    picture = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    small, places = scaled(picture, np.array([[-0.5, -0.5], [79.5, 59.5], [39.5, 29.5]]), 0.5)
    assert small.shape == (30, 40, 3)
    np.testing.assert_allclose(places, [[-0.5, -0.5], [39.5, 29.5], [19.5, 14.5]])


def test_looks_change_but_nothing_moves() -> None:
    frame = marked(np.array([[64.0, 70.0], [100.0, 40.0], [30.0, 30.0]]))
    pixels = np.ascontiguousarray(frame.read()[:128, :128])
    offsets = []
    for seed in range(60):  # each kind of change has come up, and some at once
        changed = change_looks(pixels, np.random.default_rng(seed))
        assert changed.shape == pixels.shape
        assert changed.dtype == np.uint8
        bright = changed[60:80, 54:74].astype(float).sum(axis=-1)
        weight = np.clip(bright - np.median(bright), 0, None)
        if weight.sum() > 0:
            rows, columns = np.mgrid[60:80, 54:74]
            offsets.append([(weight * columns).sum() / weight.sum() - 64, (weight * rows).sum() / weight.sum() - 70])
    assert np.abs(np.median(offsets, axis=0)).max() < 0.3
    again = change_looks(pixels, np.random.default_rng(5))
    np.testing.assert_array_equal(again, change_looks(pixels, np.random.default_rng(5)))
