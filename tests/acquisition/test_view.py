"""Views against slow, plain NumPy, and the way of their pixels to the sensor and back."""

from itertools import product
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from posestream.acquisition.camera import Camera, CameraError, CameraFormat, create_camera
from posestream.acquisition.view import View, ViewedCamera
from posestream.stream.wire.sensor import to_frame, to_sensor
from posestream.stream.wire.settings import MaskSettings, RegionSettings, ViewSettings

from .camera_contract import CameraContract, buffer_for, read_frame

FLIPS, ROTATIONS, JOINS = ("none", "horizontal", "vertical", "both"), (0, 90, 180, 270), ("vertical", "horizontal")
flips: Any = st.sampled_from(FLIPS)
rotations: Any = st.sampled_from(ROTATIONS)
joins: Any = st.sampled_from(JOINS)


def camera_of(width: int, height: int, **changes: object) -> CameraFormat:
    camera_format = CameraFormat(width=width, height=height, pixel_format="gray8", description="test")
    return msgspec.structs.replace(camera_format, **changes)


def turned(pixels: NDArray, flip: str, rotate: int) -> NDArray:
    """What a view shall do to a frame, written plainly."""
    if flip in {"horizontal", "both"}:
        pixels = pixels[:, ::-1]
    if flip in {"vertical", "both"}:
        pixels = pixels[::-1]
    return np.rot90(pixels, -rotate // 90)


def expected(view: ViewSettings, pixels: NDArray) -> NDArray:
    regions = view.regions or (RegionSettings(x=0, y=0, width=pixels.shape[1], height=pixels.shape[0]),)
    parts = [turned(pixels[r.y : r.y + r.height, r.x : r.x + r.width], r.flip, r.rotate) for r in regions]
    return turned(np.concatenate(parts, axis=0 if view.join == "vertical" else 1), view.flip, view.rotate)


@st.composite
def fitting(draw: st.DrawFn) -> tuple[ViewSettings, CameraFormat]:
    """A camera and a view that fits it."""
    width, height = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    join, side = draw(joins), draw(st.integers(1, min(width, height)))
    regions = []
    for _ in range(draw(st.integers(0, 4))):
        flip, rotate = draw(flips), draw(rotations)
        # The side that must be that of the others is the width, unless it is turned away.
        size = [side, draw(st.integers(1, min(width, height)))]
        if (join == "vertical") != (rotate in {0, 180}):
            size.reverse()
        x, y = draw(st.integers(0, width - size[0])), draw(st.integers(0, height - size[1]))
        regions.append(RegionSettings(x=x, y=y, width=size[0], height=size[1], flip=flip, rotate=rotate))
    view = ViewSettings(regions=tuple(regions), join=join, flip=draw(flips), rotate=draw(rotations))
    deep, origin = draw(st.booleans()), (draw(st.integers(0, 50)), draw(st.integers(0, 50)))
    binning = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    camera = camera_of(width, height, bits=12 if deep else 8, origin=origin, binning=binning)
    return view, msgspec.structs.replace(camera, pixel_format=draw(st.sampled_from(["gray8", "rgb24"])))


def numbered(camera: CameraFormat) -> NDArray:
    """A frame whose pixels differ, as far as they can."""
    dtype = np.uint16 if camera.bits > 8 else np.uint8
    return (np.arange(np.prod(camera.shape)) * 7).reshape(camera.shape).astype(dtype)


def pixel_places(height: int, width: int) -> NDArray:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)


@settings(max_examples=150, deadline=None)
@given(fitting())
def test_pixels_are_where_plain_numpy_puts_them(made: tuple[ViewSettings, CameraFormat]) -> None:
    settings, camera = made
    view, pixels = View(settings, camera, "top", Path()), numbered(camera)
    plain = expected(settings, pixels)
    assert view.format.shape == plain.shape
    out = np.full(view.format.shape, 171, pixels.dtype)
    view.apply(pixels, out)
    np.testing.assert_array_equal(out, plain)


@settings(max_examples=150, deadline=None)
@given(fitting())
def test_each_pixel_is_that_of_the_sensor_that_the_mapping_says(made: tuple[ViewSettings, CameraFormat]) -> None:
    settings, camera = made
    view = View(settings, camera, "top", Path())
    # A sensor whose pixels say where they are; binned pixels are the mean of their own.
    (left, top), (columns, rows) = camera.origin, camera.binning
    sensor = pixel_places(top + camera.height * rows, left + camera.width * columns).astype(np.float64)
    sensor = sensor.reshape(top + camera.height * rows, left + camera.width * columns, 2)[top:, left:]
    binned = sensor.reshape(camera.height, rows, camera.width, columns, 2).mean(axis=(1, 3))
    shown = expected(settings, binned).reshape(-1, 2)
    places = pixel_places(view.format.height, view.format.width)
    np.testing.assert_array_equal(to_sensor(view.format.sensor, places), shown)


@settings(max_examples=150, deadline=None)
@given(fitting(), st.data())
def test_the_way_to_the_sensor_and_back_is_the_identity(
    made: tuple[ViewSettings, CameraFormat], data: st.DataObject
) -> None:
    view = View(*made, "top", Path()).format
    fraction = st.floats(-0.4375, 0.4375).map(lambda value: round(value * 64) / 64)
    pixel = (data.draw(st.integers(0, view.width - 1)), data.draw(st.integers(0, view.height - 1)))
    point = np.array(pixel) + np.array([data.draw(fraction), data.draw(fraction)])
    for patch in view.sensor:
        if patch.x <= pixel[0] < patch.x + patch.width and patch.y <= pixel[1] < patch.y + patch.height:
            on_sensor = to_sensor(view.sensor, point)
            np.testing.assert_array_equal(on_sensor, to_sensor([patch], point))
            np.testing.assert_allclose(to_frame([patch], on_sensor), point, atol=1e-12)
            # Through all patches it comes back to a pixel that shows the same place.
            back = to_frame(view.sensor, on_sensor)
            np.testing.assert_allclose(to_sensor(view.sensor, back), on_sensor, atol=1e-12)
            return
    assert view.sensor == ()
    np.testing.assert_array_equal(to_sensor((), point), point)


def test_binning_and_origin_count_from_the_centres_of_pixels() -> None:
    camera = camera_of(100, 80, origin=(16, 8), binning=(2, 4))
    # The first pixel covers the columns 16 and 17 and the rows 8 to 11.
    np.testing.assert_array_equal(to_sensor(camera.sensor, [0, 0]), [16.5, 9.5])
    np.testing.assert_array_equal(to_sensor(camera.sensor, [-0.5, -0.5]), [15.5, 7.5])
    np.testing.assert_array_equal(to_sensor(camera.sensor, [10.25, 3]), [16 + 2 * 10.75 - 0.5, 8 + 4 * 3.5 - 0.5])
    assert camera_of(100, 80).sensor == ()


def test_a_view_that_moves_nothing_has_nothing_to_tell() -> None:
    view = ViewSettings(rotate=180, regions=(RegionSettings(x=0, y=0, width=10, height=8, rotate=180),))
    assert View(view, camera_of(20, 8), "top", Path()).format.sensor == ()


SEAM = ViewSettings(
    regions=(
        RegionSettings(x=100, y=10, width=40, height=20),
        RegionSettings(x=100, y=60, width=40, height=20, flip="vertical"),
    )
)


def test_a_place_belongs_to_the_region_in_which_it_lies_or_to_the_nearest() -> None:
    sensor = View(SEAM, camera_of(200, 100), "top", Path()).format.sensor
    for place, on_sensor in [
        ((5, 19), (105, 29)),
        ((5, 19.4), (105, 29.4)),
        ((5, 19.5), (105, 29.5)),  # on the seam: the first
        ((5, 19.6), (105, 79.4)),
        ((5, 20), (105, 79)),
        ((-7, -3), (93, 7)),  # outside: as the nearest would go on
        ((5, 45), (105, 54)),
        ((60, 18), (160, 28)),
        ((60, 22), (160, 77)),
    ]:
        np.testing.assert_allclose(to_sensor(sensor, place), on_sensor, atol=1e-9)
    assert np.isnan(to_sensor(sensor, [[np.nan, 2.0]])).any()
    assert np.isnan(to_frame(sensor, [105, 45])).all()  # between the regions


def polygon(*corners: tuple[float, float]) -> ViewSettings:
    return ViewSettings(mask=MaskSettings(polygons=(corners,), value=7))


@pytest.mark.parametrize("pixel_format", ["gray8", "bgr24"])
def test_a_mask_keeps_what_is_inside(pixel_format: str, tmp_path: Path) -> None:
    camera = camera_of(30, 20, pixel_format=pixel_format)
    view = View(polygon((5, 4), (14, 4), (14, 9), (5, 9)), camera, "top", tmp_path)
    out = np.empty(camera.shape, np.uint8)
    view.apply(np.full(camera.shape, 200, np.uint8), out)
    inside = np.zeros((20, 30), bool)
    inside[4:10, 5:15] = True
    assert (out[inside] == 200).all()
    assert (out[~inside] == 7).all()
    cv2.imwrite(str(tmp_path / "mask.png"), inside.astype(np.uint8) * 255)
    drawn = View(ViewSettings(mask=MaskSettings(image="mask.png", value=7)), camera, "top", tmp_path)
    again = np.empty(camera.shape, np.uint8)
    drawn.apply(np.full(camera.shape, 200, np.uint8), again)
    np.testing.assert_array_equal(again, out)


def test_a_mask_lies_on_the_recorded_frame_and_holds_for_deep_pixels() -> None:
    camera = camera_of(30, 20, bits=12)
    settings = ViewSettings(rotate=90, mask=MaskSettings(polygons=(((0, 0), (19, 0), (19, 4), (0, 4)),), value=4000))
    view = View(settings, camera, "top", Path())
    out = np.empty(view.format.shape, np.uint16)
    view.apply(np.full(camera.shape, 1000, np.uint16), out)
    assert (out[:5] == 1000).all()
    assert (out[5:] == 4000).all()


@pytest.mark.parametrize(
    ("view", "texts"),
    [
        (
            ViewSettings(
                regions=(SEAM.regions[0], RegionSettings(x=500, y=0, width=200, height=20)),
            ),
            ["cameras.top.view.regions.1", "200x20 at x 500, y 0", "640x480"],
        ),
        (
            ViewSettings(
                regions=(SEAM.regions[0], RegionSettings(x=0, y=0, width=40, height=20, rotate=90)),
            ),
            ["cameras.top.view.regions", "40x20, 20x40", "one width"],
        ),
        (
            ViewSettings(join="horizontal", regions=(SEAM.regions[0], RegionSettings(x=0, y=0, width=40, height=21))),
            ["40x20, 40x21", "one height"],
        ),
        (polygon((700, 500), (710, 500), (710, 510)), ["cameras.top.view.mask", "640x480"]),
        (ViewSettings(mask=MaskSettings(image="gone.png")), ["cameras.top.view.mask.image", "gone.png"]),
        (ViewSettings(mask=MaskSettings(image="text.png")), ["text.png", "no image"]),
        (ViewSettings(mask=MaskSettings(image="empty.png")), ["empty.png", "no image"]),
        (ViewSettings(mask=MaskSettings(image="small.png")), ["small.png is 3x2, the frame 640x480"]),
        (
            ViewSettings(mask=MaskSettings(polygons=(((0, 0), (9, 0), (9, 9)),), value=256)),
            ["cameras.top.view.mask.value = 256", "255"],
        ),
    ],
)
def test_what_does_not_fit_is_said_before_the_start(view: ViewSettings, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((2, 3), np.uint8))
    camera = ViewedCamera(create_camera("top", "synthetic", {}, tmp_path), view, "top", tmp_path)
    with pytest.raises(CameraError) as raised:
        camera.open()
    for text in texts:
        assert text in str(raised.value)


class TestViewed(CameraContract):
    @pytest.fixture(params=product(["gray8", "bgr24"], [0, 90]), ids=str)
    def make(self, request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
        pixel_format, rotate = request.param
        options = {"width": 160, "height": 120, "rate_hz": 200, "pixel_format": pixel_format}
        regions = tuple(RegionSettings(x=10, y=y, width=140, height=50) for y in (0, 60))
        view = ViewSettings(regions=regions, rotate=rotate, flip="horizontal")
        return ViewedCamera(create_camera("top", "synthetic", options, tmp_path), view, "top", tmp_path)


def test_truth_is_where_the_view_shows_it(tmp_path: Path) -> None:
    options = {"width": 160, "height": 120, "frames": 30, "rate_hz": 1000.0, "buffers": 100, "seed": 3}
    plain = create_camera("top", "synthetic", options, tmp_path)
    regions = (
        RegionSettings(x=0, y=0, width=80, height=120, flip="horizontal"),
        RegionSettings(x=80, y=0, width=80, height=120, rotate=180),
    )
    inner = create_camera("top", "synthetic", options, tmp_path)
    viewed = ViewedCamera(inner, ViewSettings(regions=regions), "top", tmp_path)
    formats = [camera.open() for camera in (plain, viewed)]
    assert formats[1].shape == (240, 80, 1)
    for camera in (plain, viewed):
        camera.start()
    for _ in range(30):
        truths = []
        for camera, camera_format in zip((plain, viewed), formats, strict=True):
            truths.append(read_frame(camera, buffer_for(camera_format)).truth)
        whole, seen = truths
        assert whole is not None
        assert seen is not None
        np.testing.assert_allclose(to_sensor(formats[1].sensor, seen), whole)
    for camera in (plain, viewed):
        camera.stop()
