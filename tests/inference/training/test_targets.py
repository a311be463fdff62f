import numpy as np
import pytest

from posestream.inference.networks.decoder import decode_numpy
from posestream.inference.training.losses import total_loss
from posestream.inference.training.targets import disc_radius, draw_targets

STDEV = 7.2801


def test_the_decoder_reads_targets_as_the_places(rng) -> None:
    places = rng.uniform(0, 255, (20, 3, 2))
    radius = np.full(20, 8.0)
    discs, locref, within = draw_targets(places, radius, 32, 32, stride=8.0, locref_stdev=STDEV)
    poses = decode_numpy(discs, locref, locref_stdev=STDEV)
    np.testing.assert_allclose(poses[..., :2], places, atol=1e-4)
    assert (poses[..., 2] == 1).all()
    np.testing.assert_array_equal(within[..., 0::2], discs)
    np.testing.assert_array_equal(within[..., 1::2], discs)


def test_discs_are_as_large_as_said() -> None:
    places = np.array([[[100.0, 60.0]], [[100.0, 60.0]]])
    discs, _, _ = draw_targets(places, np.array([17.0, 8.0]), 20, 30, stride=8.0, locref_stdev=STDEV)
    rows, columns = np.mgrid[:20, :30]
    distance = np.hypot(columns * 8 + 4 - 100, rows * 8 + 4 - 60)
    np.testing.assert_array_equal(discs[0, ..., 0], distance <= 17)
    np.testing.assert_array_equal(discs[1, ..., 0], distance <= 8)


def test_missing_body_parts_have_no_disc() -> None:
    places = np.array([[[np.nan, np.nan], [20.0, 20.0]]])
    discs, locref, within = draw_targets(places, np.array([17.0]), 8, 8, stride=8.0, locref_stdev=STDEV)
    assert discs[..., 0].sum() == 0
    assert discs[..., 1].sum() > 0
    assert np.isfinite(locref).all()
    assert within[..., :2].sum() == 0


def test_discs_shrink_with_the_picture_but_hold_a_cell() -> None:
    assert [disc_radius(scale) for scale in (1.1, 1.0, 0.8, 0.1)] == [17, 17, pytest.approx(13.6), 8]


def test_loss_is_deeplabcuts(rng) -> None:
    logits = rng.normal(0, 3, (2, 4, 4, 2)).astype(np.float32)
    locref = rng.normal(0, 2, (2, 4, 4, 4)).astype(np.float32)
    discs, aim, within = draw_targets(
        rng.uniform(0, 31, (2, 2, 2)), np.full(2, 9.0), 4, 4, stride=8.0, locref_stdev=STDEV
    )
    known = np.array([[1, 1], [1, 0]], np.float32)
    likelihood = 1 / (1 + np.exp(-logits.astype(float)))
    entropy = -np.where(discs > 0, np.log(likelihood), np.log(1 - likelihood))
    counted = np.broadcast_to(known[:, None, None], discs.shape) > 0
    away = np.abs(locref - aim)[within > 0]
    huber = np.where(away <= 1, away**2 / 2, away - 0.5)
    expected = entropy[counted].mean() + 0.05 * huber.mean()
    assert float(total_loss(logits, locref, discs, aim, within, known, locref_weight=0.05)) == pytest.approx(
        expected, rel=1e-5
    )
