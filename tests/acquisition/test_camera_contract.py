"""The contract of a camera, held by the three backends of our own, each found by its entry point."""

from pathlib import Path

import pytest

from posestream.acquisition.camera import Camera, CameraError, backends, create_camera

from .camera_contract import CameraContract, write_video


class TestSynthetic(CameraContract):
    @pytest.fixture(params=["gray8", "rgb24", "bgr24", "gray12"])
    def make(self, request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
        options = {"width": 160, "height": 120, "rate_hz": 200, "pixel_format": request.param}
        return create_camera("top", "synthetic", options, tmp_path)


class TestFile(CameraContract):
    @pytest.fixture(params=["native", "inference", 250.0])
    def make(self, request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
        write_video(tmp_path / "clip.mp4")
        return create_camera("top", "file", {"path": "clip.mp4", "pace": request.param}, tmp_path)


class TestOpenCV(CameraContract):
    late_s = 12.0  # OpenCV waits for as long as its backend does

    @pytest.fixture(params=["gray8", "bgr24"])
    def make(self, request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
        video = write_video(tmp_path / "clip.mp4")
        return create_camera("top", "opencv", {"device": str(video), "pixel_format": request.param}, tmp_path)


def test_all_are_installed() -> None:
    assert {"av", "file", "opencv", "synthetic"} <= set(backends())


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("synthetic", {"rate_hz": 0}),
        ("synthetic", {"drop": 1.5}),
        ("synthetic", {"pixel_format": "yuv"}),
        ("file", {}),
        ("file", {"path": "a.mp4", "pace": "slow"}),
        ("file", {"path": "a.mp4", "pace": -1.0}),
        ("opencv", {"fourcc": "MJPEG"}),
        ("av", {}),
        ("av", {"source": "a", "transport": "sctp"}),
    ],
)
def test_wrong_settings_are_refused(backend: str, options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"cameras\.top"):
        create_camera("top", backend, options, tmp_path)
