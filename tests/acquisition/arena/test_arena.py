import math

import numpy as np
import pytest

from posestream.acquisition.arena import KEYPOINTS, Arena
from posestream.acquisition.arena.body import FUR_LIGHT, PINNA_BACK_PX
from posestream.acquisition.arena.ground import ground


def _frame(arena: Arena, width: int = 640, height: int = 480) -> np.ndarray:
    out = np.empty((height, width), np.uint8)
    arena.render(out)
    return out


def _points(arena: Arena) -> dict[str, complex]:
    return {name: complex(*place) for name, place in zip(KEYPOINTS, arena.keypoints, strict=True)}


def _gray(frame: np.ndarray, place: complex) -> float:
    return float(frame[round(place.imag), round(place.real)])


def test_the_same_seed_gives_the_same_frames() -> None:
    one, two, other = Arena(seed=4), Arena(seed=4), Arena(seed=5)
    for _ in range(5):
        one.advance()
        two.advance()
        other.advance()
    assert one.keypoints == two.keypoints
    assert (_frame(one) == _frame(two)).all()
    assert one.keypoints != other.keypoints


def test_rendering_does_not_change_what_comes() -> None:
    seen, unseen = Arena(seed=1), Arena(seed=1)
    for _ in range(10):
        _frame(seen)
        seen.advance()
        unseen.advance()
    assert (_frame(seen) == _frame(unseen)).all()


def test_a_mouse_that_a_corner_squeezes_is_drawn() -> None:
    assert _frame(Arena(seed=76)).min() < FUR_LIGHT  # two joints of its spine lie in one place


def test_half_size_is_the_same_scene() -> None:
    large, small = Arena(seed=2), Arena(320, 240, seed=2)
    for _ in range(40):
        large.advance()
        small.advance()
    # Pixel centres: x of the large frame is 2 x + 0.5 of the small one
    np.testing.assert_allclose(large.keypoints, np.array(small.keypoints) * 2 + 0.5, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_mouse_stays_on_the_floor_and_in_shape(seed: int) -> None:
    arena = Arena(seed=seed, noise=0)
    before = np.array(arena.keypoints)
    walked = 0.0
    for _ in range(1500):
        arena.advance()
        points = np.array(arena.keypoints)
        assert (points[:, 0] > 20).all()
        assert (points[:, 0] < 620).all()
        assert (points[:, 1] > 40).all()
        assert (points[:, 1] < 470).all()
        moved = np.linalg.norm(points - before, axis=1).max()
        assert moved < 25, "a mouse does not jump"
        walked += float(np.linalg.norm(points[3] - before[3]))
        assert np.linalg.norm(points[1] - points[2]) == pytest.approx(19.0)
        assert 30 < np.linalg.norm(points[0] - points[3]) < 130
        before = points
    assert walked > 500, "it walks"


def test_left_is_the_animals_left() -> None:
    arena = Arena(seed=3, noise=0)
    for _ in range(50):
        arena.advance()
        at = _points(arena)
        middle = (at["leftear"] + at["rightear"]) / 2
        ahead = at["snout"] - middle
        # y points down: seen from above, left is a quarter turn against the clock, which is -1j
        assert ((at["leftear"] - middle) / ahead).imag < 0
        assert ((at["rightear"] - middle) / ahead).imag > 0


def test_pixels_agree_with_the_keypoints() -> None:
    arena = Arena(seed=6, noise=0)
    for _ in range(30):
        for _ in range(10):
            arena.advance()
        frame, at = _frame(arena), _points(arena)
        middle = (at["leftear"] + at["rightear"]) / 2
        ahead = (at["snout"] - middle) / abs(at["snout"] - middle)
        assert _gray(frame, at["snout"] - 4 * ahead) < 60, "fur behind the tip of the snout"
        assert _gray(frame, at["snout"] + 4 * ahead) > _gray(frame, at["snout"] - 4 * ahead) + 40, "ground ahead of it"
        assert _gray(frame, middle - 4 * ahead) < FUR_LIGHT + 25
        for ear in ("leftear", "rightear"):
            outward = (at[ear] - middle) / abs(at[ear] - middle)
            assert 80 < _gray(frame, at[ear] + 4 * outward - PINNA_BACK_PX * ahead) < 150, "the ear is lighter than fur"


def test_the_snout_is_drawn_to_below_a_pixel() -> None:
    """The edge of the dark snout, measured along its axis at half contrast, is where the keypoint says."""
    offsets = []
    arena = Arena(seed=8, noise=0)
    for _ in range(40):
        for _ in range(7):
            arena.advance()
        frame, at = _frame(arena).astype(float), _points(arena)
        middle = (at["leftear"] + at["rightear"]) / 2
        ahead = (at["snout"] - middle) / abs(at["snout"] - middle)
        reach = np.arange(-5, 7, 0.1)
        profile = np.array([_bilinear(frame, at["snout"] + step * ahead) for step in reach])
        half = (profile[0] + profile[-1]) / 2
        offsets.append(reach[np.argmax(profile > half)])
    assert abs(np.median(offsets)) < 1.0
    assert np.std(offsets) < 1.0


def _bilinear(frame: np.ndarray, place: complex) -> float:
    x, y = math.floor(place.real), math.floor(place.imag)
    fx, fy = place.real - x, place.imag - y
    rows = frame[y : y + 2, x : x + 2]
    return float(np.array([1 - fy, fy]) @ rows @ np.array([1 - fx, fx]))


def test_a_long_exposure_blurs_the_mouse_round_its_place_and_nothing_else() -> None:
    sharp, blurred = (Arena(seed=8, noise=0, exposure_us=us) for us in (0.0, 30_000.0))
    for _ in range(400):
        before = np.array(sharp.keypoints)
        sharp.advance()
        blurred.advance()
        step = np.array(sharp.keypoints) - before
        if np.linalg.norm(step, axis=1).min() > 5 and sharp.keypoints[0][1] > 200:
            break
    one, two = _frame(sharp).astype(float), _frame(blurred).astype(float)
    assert sharp.keypoints == blurred.keypoints
    changed = np.argwhere(np.abs(two - one) > 3)
    points = np.array(sharp.keypoints)[:, ::-1]
    assert len(changed) > 100
    assert (changed > points.min(axis=0) - 150).all()
    assert (changed < points.max(axis=0) + 150).all()
    # What the dark body covers has the same middle, but a softer edge
    before, after = (np.argwhere(frame < 60).mean(axis=0) for frame in (one, two))
    np.testing.assert_allclose(before, after, atol=1.0)
    x, y = np.round(sharp.keypoints[0]).astype(int)
    edges = [np.hypot(*np.gradient(frame[y - 25 : y + 25, x - 25 : x + 25])).max() for frame in (one, two)]
    assert edges[1] < 0.9 * edges[0], "softer at the snout"


def test_the_wall_behind_shows_a_mouse_that_is_near() -> None:
    seen = 0
    for seed in range(8):
        arena = Arena(seed=seed, noise=0)
        empty = ground(640, 480, seed)
        for _ in range(300):
            arena.advance()
            points = np.array(arena.keypoints)
            wall = _frame(arena)[:35].astype(int) - empty[:35]
            if points[:, 1].max() < 110:
                seen += 1
                assert wall.min() < -25, "the wall is darker there"
            elif points[:, 1].min() > 250:
                assert abs(wall).max() == 0
    assert seen


def test_in_colour_it_is_the_same_scene() -> None:
    gray, colour = Arena(seed=3, noise=0), Arena(seed=3, noise=0, colour=True)
    for _ in range(30):
        gray.advance()
        colour.advance()
    picture = np.empty((480, 640, 3), np.uint8)
    colour.render(picture)
    assert colour.keypoints == gray.keypoints
    assert np.abs(picture[..., 1].astype(int) - _frame(gray)).max() < 15, "green is about what a grey camera sees"
    assert not (picture[..., 0] == picture[..., 2]).all()


def test_some_arenas_have_droppings() -> None:
    def specks(seed: int) -> int:
        floor = ground(640, 480, seed)[90:420, 60:580]
        return int((floor < 110).sum())

    counts = [specks(seed) for seed in range(12)]
    assert sum(count > 20 for count in counts) >= 6
    assert max(counts) < 600


def test_noise_is_as_strong_as_asked() -> None:
    clean, noisy = Arena(seed=9, noise=0), Arena(seed=9, noise=4)
    difference = _frame(noisy).astype(float) - _frame(clean)
    assert difference[200:300, 100:300].std() == pytest.approx(4, rel=0.1)
    assert abs(difference[200:300, 100:300].mean()) < 0.3


@pytest.mark.parametrize(("width", "height"), [(16, 16), (1280, 200), (200, 1000)])
def test_odd_sizes_are_drawn(width: int, height: int) -> None:
    arena = Arena(width, height, rate_hz=5)
    for _ in range(20):
        arena.advance()
        assert _frame(arena, width, height).std() > 1
