"""Basler's camera emulator and the simulated cameras of the genicam wheel, through their real SDKs."""

import os
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import zmq

os.environ.setdefault("PYLON_CAMEMU", "2")  # read when the SDK is loaded

from posestream.acquisition.camera import Camera, CameraError, CameraFormat, create_camera

from ..support.waiting import until
from .camera_contract import CameraContract, buffer_for, read_frame
from .test_capture import Bench

needs_pylon = pytest.mark.skipif(find_spec("pypylon") is None, reason="pypylon is not installed: the extra pylon")
needs_harvesters = pytest.mark.skipif(
    find_spec("harvesters") is None, reason="harvesters is not installed: the extra genicam"
)


with warnings.catch_warnings():
    # SWIG's types warn when they are made, and one that is an error there crashes the interpreter
    warnings.simplefilter("ignore", DeprecationWarning)
    if find_spec("pypylon") is not None:
        import pypylon.pylon  # noqa: F401
    if find_spec("harvesters") is not None:
        import harvesters.core  # noqa: F401


def pylon(**options: Any) -> Camera:
    return create_camera("top", "pylon", {"serial": "0815-0000", "width": 320, "height": 240} | options, Path())


def viky_producer() -> Path:
    spec = find_spec("genicam")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "viky.cti"


def viky(**options: Any) -> Camera:
    settings = {"serial": "0", "producer": str(viky_producer()), "rate_hz": 100.0} | options
    return create_camera("top", "genicam", settings, Path())


@pytest.fixture
def opened() -> Iterator[Any]:
    cameras: list[Camera] = []

    def open_(camera: Camera) -> tuple[Camera, CameraFormat]:
        cameras.append(camera)
        return camera, camera.open()

    yield open_
    for camera in cameras:
        camera.stop()


@needs_pylon
class TestPylon(CameraContract):
    @pytest.fixture(params=["gray8", "software"])
    def make(self, request: pytest.FixtureRequest) -> Camera:
        if request.param == "software":
            return pylon(trigger={"source": "software"}, rate_hz=50.0)
        return pylon(pixel_format=request.param)


@needs_harvesters
class TestGenicam(CameraContract):
    @pytest.fixture(params=["gray8"])
    def make(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Camera:
        monkeypatch.setenv("GENICAM_GENTL64_PATH", str(viky_producer().parent))
        return viky(pixel_format=request.param)


@needs_pylon
def test_pylon_takes_the_whole_vocabulary_and_reads_it_back(opened: Any) -> None:
    asked = {
        "offset_x": 64,
        "offset_y": 32,
        "binning": 2,
        "pixel_format": "Mono12",
        "rate_hz": 40.0,
        "exposure_us": 2000.0,
        "gain_db": 6.0,
        "exposure_line": "Line2",
        "nodes": {"Gamma": 0.5, "ReverseX": True, "DigitalShift": 1, "TestImageSelector": "Testimage1"},
    }
    _, taken = opened(pylon(**asked))
    assert (taken.width, taken.height, taken.bits) == (320, 240, 12)
    assert taken.origin == (128, 64)
    assert taken.binning == (2, 2)
    for key in ("offset_x", "offset_y", "binning", "rate_hz", "exposure_us", "exposure_line"):
        assert taken.settings[key] == pytest.approx(asked[key]) if key != "exposure_line" else "Line2"
    assert taken.settings["gain_db"] == pytest.approx(6, abs=0.1)
    assert taken.settings["nodes.ReverseX"] is True
    assert taken.settings["nodes.TestImageSelector"] == "Testimage1"
    assert taken.settings["trigger.source"] == "free-run"


@needs_pylon
def test_a_region_is_taken_whatever_was_set_before(opened: Any) -> None:
    camera, _ = opened(pylon(width=1024, height=1024, offset_x=3072, offset_y=3072))
    camera.stop()
    _, taken = opened(pylon(width=4096, height=4096, offset_x=0, offset_y=0))
    assert (taken.width, taken.origin) == (4096, (0, 0))


@needs_pylon
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 5000}, "width = 5000: Width takes 1 to 4096"),
        ({"offset_x": 4000}, "offset_x = 4000: OffsetX takes 0 to 3776"),
        ({"binning": 5}, "binning = 5: BinningHorizontal takes 1 to 4"),
        ({"pixel_format": "Mono13"}, 'did you mean "Mono1'),
        ({"exposure_us": 1e9}, "exposure_us = 1000000000: ExposureTime takes 1 to 10000000"),
        ({"gain_db": 90.0}, "gain_db = 90: Gain takes 0 to 48"),
        ({"white_balance": [1.0, 1.0, 1.0]}, "white_balance: the camera has no BalanceRatio"),
        ({"trigger": {"source": "Line9"}}, 'trigger.source = "Line9": TriggerSource offers .*Line3.*did you mean'),
        ({"trigger": {"source": "software"}}, "set rate_hz too"),
        ({"exposure_line": "Line7"}, "LineSelector offers Line1, Line2, Line3"),
        ({"nodes": {"Gama": 1.0}}, r"nodes.Gama: the camera has no Gama \(did you mean \"Gamma\"\?\)"),
        ({"nodes": {"ReverseX": 1}}, "ReverseX takes true or false"),
        ({"nodes": {"SensorWidth": 17}}, "SensorWidth"),
        ({"nodes": {"TriggerSoftware": False}}, "TriggerSoftware is a command, and true executes it"),
        ({"nodes": {"DigitalShift": 1.5}}, "DigitalShift takes a whole number"),
        ({"serial": "4711"}, "serial number 4711; there are 0815-0000, 0815-0001"),
        ({"serial": None}, "say which Basler camera is meant; there are 0815-0000, 0815-0001"),
    ],
)
def test_what_a_camera_cannot_do_is_said_with_what_it_offers(options: dict[str, Any], text: str) -> None:
    with pytest.raises(CameraError, match=text):
        pylon(**options).open()


@needs_pylon
@pytest.mark.parametrize(
    ("options", "warnings_"),
    [
        ({"exposure_us": 100.4}, ("exposure_us was set to 100.4, and ExposureTime is 100",)),
        ({"gain_db": 6.0}, ()),  # 6.00026: the camera's steps are finer than a person's
        (
            {"rate_hz": 30.0, "nodes": {"AcquisitionFrameRate": 20.0}},
            ("rate_hz was set to 30, and AcquisitionFrameRate is 20",),
        ),
    ],
)
def test_what_was_taken_otherwise_is_a_warning(
    opened: Any, options: dict[str, Any], warnings_: tuple[str, ...]
) -> None:
    _, taken = opened(pylon(**options))
    assert taken.warnings == warnings_


@needs_pylon
def test_a_line_trigger_is_set_and_nothing_comes_without_a_signal(opened: Any) -> None:
    camera, taken = opened(pylon(trigger={"source": "Line1", "edge": "falling"}, rate_hz=30.0))
    assert taken.settings["trigger.source"] == "Line1"
    assert taken.settings["trigger.edge"] == "FallingEdge"
    assert taken.rate_hz == 30
    camera.start()
    assert camera.read(buffer_for(taken), 0.2) is None


@needs_pylon
def test_software_triggers_give_the_rate_that_was_asked(opened: Any) -> None:
    camera, taken = opened(pylon(trigger={"source": "software"}, rate_hz=25.0))
    camera.start()
    out = buffer_for(taken)
    captures = [read_frame(camera, out) for _ in range(11)]
    assert [capture.device_id for capture in captures] == list(range(11))
    assert (captures[-1].captured_ns - captures[0].captured_ns) / 10 >= 35e6  # never faster than asked


@needs_pylon
def test_incomplete_buffers_are_missing_numbers_with_their_reason(opened: Any) -> None:
    camera, taken = opened(pylon(nodes={"ForceFailedBufferCount": 3}))
    camera.start()
    out = buffer_for(taken)
    ids: list[Any] = [read_frame(camera, out).device_id for _ in range(4)]
    camera._camera.ForceFailedBuffer.Execute()  # noqa: SLF001 - of the emulator, in the midst of a run
    captures = [read_frame(camera, out) for _ in range(60)]
    ids += [capture.device_id for capture in captures]
    assert len(set(range(ids[-1] + 1)) - set(ids)) == 3
    reasons: list[Any] = [(capture.lost_why, capture.device_id) for capture in captures if capture.lost_why]
    assert len(reasons) == 1
    assert "incomplete" in reasons[0][0]
    assert reasons[0][1] - 4 in ids


@needs_pylon
def test_incomplete_buffers_are_rows_of_the_frame_table_and_events(tmp_path: Path, context: zmq.Context[Any]) -> None:
    camera = pylon(width=64, height=48, nodes={"ForceFailedBufferCount": 4})
    bench = Bench(camera, tmp_path, context)
    try:
        until(lambda: bench.capture.captured > 5)
        camera._camera.ForceFailedBuffer.Execute()  # type: ignore[attr-defined]  # noqa: SLF001 - of the emulator
        until(lambda: bench.capture.lost_camera > 0)
        rows = bench.end()
    finally:
        bench.close()
    assert bench.capture.lost_camera == 4
    assert [int(row["device_id"]) for row in rows] == list(range(len(rows)))
    assert [row["state"] for row in rows].count("lost-camera") == 4
    (event,) = bench.told("lost-camera")
    assert event.text.endswith(": The buffer was incompletely grabbed.")


@needs_pylon
@pytest.mark.parametrize(
    ("name", "pixel_format", "bits"),
    [
        ("rgb24", "rgb24", 8),
        ("bgr24", "bgr24", 8),
        ("BayerRG8", "rgb24", 8),
        ("Mono10", "gray8", 10),
        ("Mono12", "gray8", 12),
        ("BayerGB12", "rgb24", 12),
    ],
)
def test_pixels_arrive_as_they_are(opened: Any, name: str, pixel_format: str, bits: int) -> None:
    camera, taken = opened(pylon(pixel_format=name))
    assert (taken.pixel_format, taken.bits) == (pixel_format, bits)
    camera.start()
    out = buffer_for(taken)
    read_frame(camera, out)
    assert 2 ** (bits - 1) < out.max() < 2**bits


@needs_harvesters
def test_four_channels_become_three(opened: Any) -> None:
    camera, taken = opened(viky(pixel_format="rgb24"))
    assert taken.settings["pixel_format"] == "RGBa8"
    camera.start()
    out = buffer_for(taken)
    read_frame(camera, out)
    assert out.std() > 1


@needs_harvesters
def test_genicam_reads_back_and_refuses(opened: Any) -> None:
    camera, taken = opened(viky(width=200, height=120, pixel_format="gray8"))
    camera.stop()
    assert taken.shape == (120, 200, 1)
    assert taken.settings["rate_hz"] == pytest.approx(100)
    for options, text in (
        ({"width": 90}, "width = 90: Width takes 100 to 800"),
        ({"exposure_us": 10.0}, "exposure_us: the camera has no ExposureTime"),
        ({"pixel_format": "bgr24"}, "among the camera's formats: RGBa8, Mono8"),
        ({"trigger": {"source": "Line0"}}, "the camera has no TriggerMode"),
        ({"producer": "/nowhere.cti"}, "there is no file /nowhere.cti"),
    ):
        with pytest.raises(CameraError, match=text):
            viky(**options).open()


@needs_harvesters
def test_without_a_producer_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    with pytest.raises(CameraError, match="GENICAM_GENTL64_PATH"):
        viky(producer=None).open()
