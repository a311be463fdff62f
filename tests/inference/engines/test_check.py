import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest

from posestream.inference.engines.check import compare, read_recorded, run_batches, video_frames
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle


@pytest.fixture(scope="module")
def engine(bundle) -> TensorFlowEngine:
    return TensorFlowEngine(bundle)


@pytest.fixture(scope="module")
def archive(engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Poses of the network itself, as if DeepLabCut had given them."""
    frames = np.random.default_rng(3).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    poses, _ = run_batches(engine, frames, "rgb24", 5)
    path = tmp_path_factory.mktemp("recorded") / "poses.npz"
    np.savez(path, frames_bgr=frames[..., ::-1], poses=poses[:, None], seconds=np.full(5, 0.25))
    return path


def rewritten(archive: Path, path: Path, **changes) -> Path:
    with np.load(archive) as content:
        np.savez(path, **{**content, **changes})
    return path


def test_the_same_network_agrees_in_any_batch(engine, bundle, archive: Path) -> None:
    recorded = read_recorded(archive, None)
    assert recorded.pixel_format == "rgb24"
    assert recorded.frames_per_second == 4.0
    poses, per_second = run_batches(engine, recorded.frames, recorded.pixel_format, 2)
    difference = compare(bundle, recorded, poses)
    assert difference.frames == 5
    assert difference.within_limits
    assert difference.tied == 0
    assert per_second > 0


@pytest.mark.parametrize(("column", "shift"), [(0, 0.06), (1, -0.06), (2, 0.002), (0, np.nan)])
def test_a_pose_that_differs_is_found(bundle, archive: Path, tmp_path: Path, column: int, shift: float) -> None:
    poses = read_recorded(archive, None).poses
    moved = poses.copy()
    moved[3, 1, column] += shift
    recorded = read_recorded(rewritten(archive, tmp_path / "moved.npz", poses=moved), None)
    assert not compare(bundle, recorded, poses).within_limits


def test_tied_peaks_are_held_to_their_likelihood_alone(bundle, archive: Path) -> None:
    flat = {
        name: np.zeros_like(array) if name == "part_pred/kernel" else array for name, array in bundle.weights.items()
    }
    blind = ModelBundle(bundle.spec, flat)
    recorded = read_recorded(archive, None)
    poses = recorded.poses.copy()
    poses[2, 1, 0] += 30
    difference = compare(blind, recorded, poses)
    assert (difference.tied, difference.largest_px, difference.within_limits) == (1, 0.0, True)


def test_grey_frames_are_run_as_grey(archive: Path, tmp_path: Path) -> None:
    frames = np.zeros((5, 48, 64, 3), np.uint8)
    assert read_recorded(rewritten(archive, tmp_path / "g.npz", frames_bgr=frames), None).pixel_format == "gray8"


def test_frames_come_from_the_video_they_were_taken_of(archive: Path, tmp_path: Path, rng) -> None:
    video = tmp_path / "video.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        picture = cv2.GaussianBlur(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8), (0, 0), 5)
        for number in range(6):
            shifted = np.roll(picture, number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shifted, format="rgb24")))
        container.mux(stream.encode())
    hashes = [hashlib.sha256(frame.tobytes()).hexdigest()[:32] for frame in video_frames(video, (64, 48))][:5]
    content: dict[str, Any] = {"poses": np.zeros((5, 3, 3)), "seconds": 2.0, "size": [64, 48]}
    path = tmp_path / "poses.npz"
    np.savez(path, hashes=hashes, **content)
    recorded = read_recorded(path, video)
    assert recorded.frames.shape == (5, 48, 64, 3)
    assert recorded.frames_per_second == 2.5
    with pytest.raises(ModelError, match="--video"):
        read_recorded(path, None)
    np.savez(path, hashes=[*hashes[:4], "0" * 32], **content)
    with pytest.raises(ModelError, match="1 of 5 frames"):
        read_recorded(path, video)
    with pytest.raises(ModelError, match="it is not a video"):
        read_recorded(path, path)
    # the colours that benchmarks/deeplabcut_reference.py gives a grey video, made with OpenCV's order of channels
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video_frames(video, (64, 48)))
    coloured = [cv2.cvtColor(cv2.applyColorMap(frame, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB) for frame in grey][:5]
    hashes = [hashlib.sha256(frame.tobytes()).hexdigest()[:32] for frame in coloured]
    np.savez(path, hashes=hashes, colour_map="jet", **content)
    np.testing.assert_array_equal(read_recorded(path, video).frames, coloured)
    np.savez(path, hashes=hashes, colour_map="sepia", **content)
    with pytest.raises(ModelError, match="the colour map 'sepia'"):
        read_recorded(path, video)


def test_what_is_no_archive(bundle, archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"words")
    with pytest.raises(ModelError, match="not an archive"):
        read_recorded(path, None)
    with pytest.raises(ModelError, match="not an archive"):
        read_recorded(tmp_path, None)
    np.savez(path, poses=np.array([{}], dtype=object), seconds=1.0)  # a pickle, which is not read
    with pytest.raises(ModelError, match="not an archive"):
        read_recorded(path, None)
    immense = io.BytesIO()
    np.lib.format.write_array_header_1_0(immense, {"descr": "<f8", "fortran_order": False, "shape": (2**50, 3)})
    with zipfile.ZipFile(path, "w") as made:  # a hundred bytes that ask for 24 PiB
        made.writestr("poses.npy", immense.getvalue())
    with pytest.raises(ModelError, match="not an archive"):
        read_recorded(path, None)
    for changes in ({"poses": np.zeros((5, 2))}, {"frames_bgr": np.zeros((4, 48, 64, 3), np.uint8)}):
        with pytest.raises(ModelError, match=r"a\.npz"):
            read_recorded(rewritten(archive, path, **changes), None)
    two = msgspec.structs.replace(bundle.spec, name="other")
    recorded = read_recorded(archive, None)
    with pytest.raises(ModelError, match="same network"):
        compare(ModelBundle(two, bundle.weights), recorded, recorded.poses[:, :2])
