"""Where a following window lies and when it is trusted: with an engine that sees a bright spot, and with networks."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from posestream.inference.engine import Engine, Precision
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.networks.network import build_network
from posestream.inference.offline.video_reader import VideoReader
from posestream.inference.windows.crop_window import CropWindow, CropWindowFollower, CropWindowSettings
from posestream.inference.windows.crop_window_run import CropWindowRun
from posestream.stream.wire.messages import PixelFormat

WIDTH, HEIGHT = 640, 480
SETTINGS = CropWindowSettings(sides=(192,), margin_px=48, threshold=0.6, check_every=1000)


def pose(*points: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(points, np.float32)


@given(
    x=st.floats(-10, WIDTH + 10),
    y=st.floats(-10, HEIGHT + 10),
    step=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
    ahead=st.floats(0, 64),
)
def test_windows_lie_within_the_frame_at_multiples_of_16(x, y, step, ahead) -> None:
    follower = CropWindowFollower(SETTINGS, WIDTH, HEIGHT)
    follower.take(pose((x, y, 0.9)), whole=True)
    follower.take(pose((x + step[0], y + step[1], 0.9)), whole=False)
    window = follower.window(ahead)
    assert window is not None
    assert (window.width, window.height) == (192, 192)
    assert window.x % 16 == window.y % 16 == 0
    assert 0 <= window.x <= WIDTH - 192
    assert 0 <= window.y <= HEIGHT - 192


@given(x=st.floats(0, WIDTH), y=st.floats(0, HEIGHT), box=st.floats(0, 140))
def test_an_animal_that_stays_is_trusted_in_its_window(x: float, y: float, box: float) -> None:
    follower = CropWindowFollower(CropWindowSettings(sides=(256, 160), margin_px=48), WIDTH, HEIGHT)
    whole = pose((x, y, 0.9), (min(x + box, WIDTH), y, 0.9), (0, 0, 0.1))
    follower.take(whole, whole=True)
    window = follower.window()
    assert window is not None
    assert window.width == (160 if whole[1, 0] - whole[0, 0] + 2 * 48 + 16 <= 160 else 256)
    assert follower.trusts(window, whole)


@pytest.mark.parametrize(("width", "height"), [(640, 478), (653, 481), (300, 270)])
@pytest.mark.parametrize("corner", [0, 1])
def test_windows_reach_the_edges_of_any_frame(width: int, height: int, corner: int) -> None:
    follower = CropWindowFollower(CropWindowSettings(sides=(256,)), width, height)
    animal = pose((corner * (width - 1), corner * (height - 1), 0.9))
    follower.take(animal, whole=True)
    window = follower.window()
    assert window is not None
    assert (width - window.width) % 16 == (height - window.height) % 16 == 0
    assert 240 < min(window.width, window.height) <= max(window.width, window.height) <= 256
    assert (window.x + corner * window.width, window.y + corner * window.height) == (corner * width, corner * height)
    assert window.cut(np.zeros((height, width, 1), np.uint8)).shape == (window.height, window.width, 1)
    assert follower.trusts(window, animal)


def test_it_goes_where_the_animal_goes() -> None:
    follower = CropWindowFollower(SETTINGS, WIDTH, HEIGHT)
    for number in range(20):
        follower.take(pose((100 + 10 * number, 240, 0.9)), whole=number == 0)
    for ahead in (1, 8):
        window = follower.window(ahead)
        assert window is not None
        assert abs(window.x + 96 - (290 + 10 * ahead)) <= 9
        assert window.y + 96 == 240


def test_when_a_window_is_not_trusted() -> None:
    follower = CropWindowFollower(SETTINGS, WIDTH, HEIGHT)
    follower.take(pose((300, 200, 0.9), (320, 210, 0.5)), whole=True)
    window = CropWindow(208, 112, 192, 192)
    assert follower.trusts(window, pose((300, 200, 0.9), (320, 210, 0.5)))
    assert follower.trusts(window, pose((300, 200, 0.9), (0, 0, 0.5)))  # nobody expects the second
    assert not follower.trusts(window, pose((300, 200, 0.5), (320, 210, 0.9)))  # the first fell
    assert not follower.trusts(window, pose((208 + 47, 200, 0.9), (320, 210, 0.5)))
    assert not follower.trusts(window, pose((300, 112 + 192 - 47, 0.9), (320, 210, 0.5)))
    assert not follower.trusts(window, pose((300, 200, 0.9), (208 + 150, 210, 0.9)))
    edge = CropWindow(WIDTH - 192, 0, 192, 192)
    assert follower.trusts(edge, pose((WIDTH - 2, 3, 0.9), (0, 0, 0.5)))  # the window's edge is the frame's


def test_no_window_for_what_is_lost_or_large() -> None:
    follower = CropWindowFollower(SETTINGS, WIDTH, HEIGHT)
    assert follower.window() is None
    follower.take(pose((300, 200, 0.9), (420, 200, 0.9)), whole=True)
    assert follower.window() is None
    follower.take(pose((300, 200, 0.9), (420, 200, 0.5)), whole=True)
    assert follower.window() is not None
    follower.take(pose((300, 200, 0.1), (420, 200, 0.5)), whole=True)
    assert follower.window() is None
    small = CropWindowFollower(SETTINGS, WIDTH, 100)
    small.take(pose((300, 50, 0.9)), whole=True)
    assert small.window() is None


@pytest.mark.parametrize(("side", "margin", "says"), [(100, 10, "multiple of 32"), (32, 4, "64"), (96, 48, "no room")])
def test_settings_that_can_not_be(side: int, margin: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CropWindowSettings(sides=(side,), margin_px=margin)


class SpotEngine:
    """Finds the brightest pixel, as sure as it is bright; keeps what it was asked."""

    name, reason, bodyparts = "spot", "", ("spot",)
    precision: Precision = "float32"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.prepared: dict[tuple[int, int], int] = {}

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        self.prepared[height, width] = max(self.prepared.get((height, width), 0), *batch_sizes)

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        batch, height, width, _ = frames.shape
        if batch > self.prepared[height, width]:
            raise ModelError("not prepared")
        self.asked.append((batch, height, width))
        flat = frames[..., 0].reshape(batch, -1)
        rows, columns = np.divmod(flat.argmax(axis=1), width)
        return np.stack([columns, rows, flat.max(axis=1) / 255], axis=-1).astype(np.float32)[:, None]


def spots(places: Iterable[tuple[int, int]], brightness: Iterable[int] | None = None) -> NDArray[np.uint8]:
    places = list(places)
    frames = np.zeros((len(places), HEIGHT, WIDTH, 1), np.uint8)
    for frame, (x, y), value in zip(frames, places, brightness or [255] * len(places), strict=True):
        frame[y, x] = value
    return frames


def follow(
    frames: NDArray[np.uint8], batch: int, settings: CropWindowSettings = SETTINGS
) -> tuple[CropWindowRun, SpotEngine]:
    """Run frames, and see that every pose is that of the whole frame."""
    engine = SpotEngine()
    assert isinstance(engine, Engine)
    run = CropWindowRun(engine, settings, WIDTH, HEIGHT, batch)
    poses = np.concatenate([run.run(frames[at : at + batch], "gray8") for at in range(0, len(frames), batch)])
    whole = SpotEngine()
    whole.prepare(HEIGHT, WIDTH, "gray8", [len(frames)])
    expected = whole.run(frames, "gray8")
    confident = expected[..., 2] >= settings.threshold
    np.testing.assert_array_equal(poses[confident], expected[confident])
    assert (poses[~confident, 2] < settings.threshold).all()
    assert run.counts.windows + run.counts.whole == len(frames)
    return run, engine


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_animal_that_runs_is_followed(batch: int) -> None:
    run, engine = follow(spots((60 + 9 * number, 100 + 4 * number) for number in range(48)), batch)
    assert run.counts.whole == 1 if batch == 1 else run.counts.whole <= 3
    assert {asked[1:] for asked in engine.asked} == {(HEIGHT, WIDTH), (192, 192)}


@pytest.mark.parametrize("batch", [1, 8])
def test_an_animal_that_jumps_is_found_again(batch: int) -> None:
    run, _ = follow(spots([(100, 100)] * 12 + [(500, 300)] * 12 + [(500, 20)] * 12), batch)
    assert run.counts.whole == 3


def test_an_animal_that_is_gone_is_looked_for_in_growing_batches() -> None:
    run, engine = follow(spots([(100, 100)] * 48, [255] * 5 + [20] * 30 + [255] * 13), 8)
    assert max(size for size, height, _ in engine.asked if height == HEIGHT) > 2
    assert run.counts.windows >= 8


def test_every_so_often_a_whole_frame() -> None:
    frames = spots([(100, 100)] * 40)
    run, _ = follow(frames, 8, CropWindowSettings(sides=(192,), margin_px=48, check_every=10))
    assert (run.counts.windows, run.counts.whole, run.counts.checks, run.counts.disagreed) == (36, 4, 3, 0)
    frames[:, 100, 100] = 200
    frames[:10, 400, 600] = 0
    frames[15:, 400, 600] = 255  # no window sees this
    engine = SpotEngine()
    run = CropWindowRun(engine, CropWindowSettings(sides=(192,), margin_px=48, check_every=10), WIDTH, HEIGHT, 40)
    poses = run.run(frames, "gray8")
    assert (poses[:20, 0, 0] == 100).all()
    assert (poses[20:, 0, 0] == 600).all()
    assert run.counts.disagreed == 1


@pytest.mark.parametrize("batch", [2, 5])
def test_each_camera_has_a_window_of_its_own_and_their_windows_are_asked_together(batch: int) -> None:
    paths = {"left": [(60 + 9 * n, 100) for n in range(40)], "right": [(600 - 7 * n, 300) for n in range(40)]}
    origins = [(name, number) for number in range(40) for name in paths]
    frames = spots(paths[name][number] for name, number in origins)
    engine = SpotEngine()
    run = CropWindowRun(engine, SETTINGS, WIDTH, HEIGHT, batch)
    parts = range(0, len(origins), batch)
    poses = np.concatenate([run.run(list(frames[at : at + batch]), "gray8", origins[at : at + batch]) for at in parts])
    expected = [paths[name][number] for name, number in origins]
    np.testing.assert_array_equal(poses[:, 0, :2], expected)
    assert run.counts_of("left").windows + run.counts_of("left").whole == 40
    assert run.counts.whole <= 6
    assert sum(size for size, height, _ in engine.asked if height == 192) >= 74
    assert max(size for size, height, _ in engine.asked if height == 192) >= 2
    assert run.counts_of("another").windows == 0


def test_frames_that_were_left_out_count_for_where_the_animal_is_by_now() -> None:
    numbers = range(0, 90, 3)
    frames = spots((60 + 6 * number, 240) for number in numbers)
    run = CropWindowRun(SpotEngine(), SETTINGS, WIDTH, HEIGHT, 1)
    for index, number in enumerate(numbers):
        found = run.run(frames[index : index + 1], "gray8", [("top", number)])
        assert found[0, 0, 0] == 60 + 6 * number
    assert run.counts.whole == 1


def test_what_was_prepared_is_not_prepared_again() -> None:
    engine = SpotEngine()
    run = CropWindowRun(engine, SETTINGS, WIDTH, HEIGHT, 4)
    run.prepare("gray8")
    assert engine.prepared == {(HEIGHT, WIDTH): 4, (192, 192): 4}
    engine.prepare = None  # type: ignore[assignment]
    run.run(spots([(100, 100)] * 12)[:4], "gray8")
    run.run(spots([(100, 100)] * 12)[4:7], "gray8")


@pytest.mark.parametrize("rest", [0, 1, 2, 7])
def test_a_network_answers_alike_for_windows_and_only_for_them(bundle, rng, rest: int) -> None:
    side = 320 + rest
    frame = rng.integers(0, 256, (21, 21, 1), np.uint8).repeat(16, 0).repeat(16, 1)[:side, :side]
    network = build_network(bundle, pixel_format="gray8", decode=False)

    def middle(window: CropWindow) -> NDArray[np.float32]:
        """Part map round the frame's middle, (160, 160), as a window of it gives it."""
        maps = np.asarray(network(np.ascontiguousarray(window.cut(frame)[None]))[0])[0]
        row, column = (160 - window.y) // 8, (160 - window.x) // 8
        return np.asarray(maps[row - 1 : row + 1, column - 1 : column + 1])

    follower = CropWindowFollower(CropWindowSettings(sides=(224,)), side, side)
    follower.take(pose((160, 160, 0.9)), whole=True)
    window = follower.window()
    assert window is not None
    whole = middle(CropWindow(0, 0, side, side))
    alike = np.abs(middle(window) - whole).max()
    shifted = np.abs(middle(CropWindow(window.x + 8, window.y + 8, window.width, window.height)) - whole).max()
    assert alike < 0.1 * shifted
    if rest == 2:  # the first pool begins a pixel earlier than in a window whose sides are multiples of 16
        assert alike < 0.2 * np.abs(middle(CropWindow(window.x, window.y, 224, 224)) - whole).max()


def test_the_windows_of_the_clip_agree_with_whole_frames(openfield_clip: Path, lmtracker_folder: Path) -> None:
    """At the video's own size; `docs/measured.md` has more frames of it."""
    from posestream.inference.formats.models import load_model

    engine = TensorFlowEngine(load_model(lmtracker_folder))
    with VideoReader(openfield_clip) as reader:
        frames = np.stack([pixels.copy() for _, pixels in islice(reader.frames(), 100, 105)])
    engine.prepare(HEIGHT, WIDTH, "gray8", [5])
    whole = engine.run(frames, "gray8")
    run = CropWindowRun(engine, CropWindowSettings(), WIDTH, HEIGHT, 5)
    found = run.run(frames, "gray8")
    confident = whole[:, 0, 2] >= 0.6
    assert confident.any()
    assert run.counts.windows > 0
    assert np.hypot(*(found - whole)[confident, 0, :2].T).max() < 1.0
