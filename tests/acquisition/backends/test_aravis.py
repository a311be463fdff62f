"""The backend `aravis` on Aravis's own emulator: a GigE Vision camera over real UDP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posestream.acquisition.backends.discovery import search
from posestream.acquisition.camera import Camera, CameraError, create_camera

from ..aravis_emulator import FIRST_ID, emulator, own_serial
from ..camera_contract import CameraContract, buffer_for, read_frame

SMALL = {"width": 160, "height": 120, "rate_hz": 200.0}


def make_camera(serial: str, **options: Any) -> Camera:
    return create_camera("top", "aravis", {"serial": serial, **SMALL, **options}, Path())


@pytest.fixture(scope="module")
def serial() -> Iterator[str]:
    """An emulator that loses nothing, and has had its ids begin again: raw ids rise from here on."""
    name = own_serial("WHOLE")
    with emulator(name):
        camera = make_camera(name)
        camera.open()
        camera.start()
        out = np.empty((120, 160, 1), np.uint8)
        while not (read_frame(camera, out).device_id or 0) < FIRST_ID:
            pass
        camera.stop()
        yield name


@pytest.fixture
def opened(serial: str) -> Iterator[Callable[..., Camera]]:
    made: list[Camera] = []

    def make(**options: Any) -> Camera:
        made.append(make_camera(**{"serial": serial} | options))
        return made[-1]

    yield make
    for camera in made:
        camera.stop()


class TestAravis(CameraContract):
    @pytest.fixture
    def make(self, serial: str) -> Camera:
        return make_camera(serial)


def test_what_is_there_is_found_and_can_be_chosen(serial: str) -> None:
    found = search("aravis")
    (mine,) = [camera for camera in found.cameras if camera.serial == serial]
    assert "GigEVision" in mine.description
    assert mine.options == {"serial": serial}


@pytest.mark.parametrize(
    ("name", "pixel_format", "bits"),
    [("Mono16", "gray8", 16), ("rgb24", "rgb24", 8), ("BayerRG8", "rgb24", 8), ("gray8", "gray8", 8)],
)
def test_pixels_of_every_kind(opened: Callable[..., Camera], name: str, pixel_format: str, bits: int) -> None:
    camera = opened(pixel_format=name)
    camera_format = camera.open()
    camera.start()
    out = buffer_for(camera_format)
    read_frame(camera, out)
    assert (camera_format.pixel_format, camera_format.bits) == (pixel_format, bits)
    assert out.max() > 0.5 * 2**bits
    if pixel_format == "rgb24":
        assert np.ptp(out.astype(int), axis=2).max() > 50  # colours, not greys


def test_settings_are_taken_and_read_back(opened: Callable[..., Camera]) -> None:
    camera = opened(offset_x=16, offset_y=8, exposure_us=2_000.0, packet_size=1000, nodes={"GainRaw": 3})
    camera_format = camera.open()
    assert camera_format.origin == (16, 8)
    assert camera_format.settings["exposure_us"] == 2_000
    assert camera_format.settings["nodes.GainRaw"] == 3
    assert camera_format.rate_hz == 200
    assert camera_format.device_ids == (1, 65_535)
    assert camera_format.warnings == ()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_hz": 5_000.0}, r"rate_hz = 5000: AcquisitionFrameRate takes 0.1 to 1000"),
        ({"pixel_format": "Mono12p"}, r'pixel_format = "Mono12p": PixelFormat offers .*Mono8'),
        ({"nodes": {"Widht": 3}}, r"has no Widht \(did you mean \"Width\"\?\)"),
        ({"serial": "nobody's"}, "no camera with serial"),
    ],
)
def test_what_can_not_be_is_named(opened: Callable[..., Camera], options: dict[str, Any], text: str) -> None:
    with pytest.raises(CameraError, match=text):
        opened(**options).open()


def test_a_software_trigger_gives_the_rate_that_is_asked(opened: Callable[..., Camera]) -> None:
    camera = opened(trigger={"source": "software"}, rate_hz=20.0)
    camera_format = camera.open()
    camera.start()
    out = buffer_for(camera_format)
    times = [read_frame(camera, out).captured_ns for _ in range(11)]
    assert (times[-1] - times[0]) / 1e9 > 0.45


def test_a_camera_that_another_program_controls(opened: Callable[..., Camera]) -> None:
    opened().open()
    with pytest.raises(CameraError, match="another program has control"):
        opened().open()
