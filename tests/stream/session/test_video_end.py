"""Videos as a power failure leaves them: shorter, with zeros or holes, or in the middle of being closed."""

import random

import numpy as np
import pytest

from posestream.stream.session.video_end import repair_video_end
from posestream.stream.session.video_times import decode_video

FRAMES = 150
PAGE = 4096


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, list[int]]]:
    """Videos as they grow and when they are closed, each with the file's length after every frame."""
    from posestream.acquisition.camera import CameraFormat
    from posestream.acquisition.encoder import VideoWriter
    from posestream.stream.wire.settings import RecordingSettings

    folder, rng, made = tmp_path_factory.mktemp("videos"), np.random.default_rng(0), {}
    camera = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)
    for container in ("mp4", "mkv"):
        path, lengths = folder / f"video.{container}", []
        writer = VideoWriter(path, RecordingSettings(container=container), camera)
        for number in range(FRAMES):
            writer.write(rng.integers(0, 256, camera.shape, np.uint8), number * 10_000)
            lengths.append(path.stat().st_size)
        made[f"growing.{container}"] = (path.read_bytes(), lengths)
        writer.close()
        made[f"closed.{container}"] = (path.read_bytes(), lengths)
    return made


def torn(data: bytes, synced: int, how: str, rng: random.Random) -> bytes:
    at, left = rng.randint(synced, len(data)), bytearray(data)
    if how == "shorter":
        return data[:at]
    if how == "zeros":
        return data[:at] + bytes(len(data) - at)
    for begin in range(-(-synced // PAGE) * PAGE, len(data), PAGE):
        if rng.random() < 0.5:
            end = min(begin + PAGE, len(data))
            left[begin:end] = bytes(end - begin)
    return bytes(left)


@pytest.mark.parametrize("how", ["shorter", "zeros", "holes"])
@pytest.mark.parametrize("name", ["growing.mp4", "closed.mp4", "growing.mkv", "closed.mkv"])
def test_what_was_on_the_disk_is_kept_and_the_rest_is_sound_or_cut_off(videos, tmp_path, name, how) -> None:
    data, lengths = videos[name]
    rng = random.Random(f"{name}{how}")  # noqa: S311
    for number in range(12):
        synced = rng.choice(lengths[20:])
        video = tmp_path / f"{number}.{name.rpartition('.')[2]}"
        video.write_bytes(torn(data, synced, how, rng))
        before = video.read_bytes()
        whole, done = repair_video_end(video, tmp_path / "kept")
        decoded = decode_video(video)
        assert whole
        assert decoded.problem == ""
        times_us = decoded.times_us
        on_disk = sum(length <= synced for length in lengths)
        # A growing Matroska file gets its frames by the cluster, and one in an mp4 is written with the one behind it.
        assert len(times_us) >= on_disk - (1 if name.endswith("mp4") else 60)
        assert (np.abs(times_us - 10_000 * np.arange(len(times_us))) <= 500).all()
        if any("cut off" in text for text in done):
            end = (tmp_path / "kept" / f"{video.name}.end").read_bytes()
            assert len(video.read_bytes()) + len(end) == len(before)
            assert before.endswith(end)
        assert repair_video_end(video, tmp_path / "kept") == (True, [])


@pytest.mark.parametrize("name", ["growing.mp4", "closed.mp4", "growing.mkv", "closed.mkv"])
def test_a_sound_video_is_left_as_it_is(videos, tmp_path, name) -> None:
    video = tmp_path / f"video.{name.rpartition('.')[2]}"
    video.write_bytes(videos[name][0])
    assert repair_video_end(video, tmp_path / "kept") == (True, [])
    assert video.read_bytes() == videos[name][0]


@pytest.mark.parametrize("data", [b"", bytes(20_000), b"\x00\x00\x00\x24ftypisom"])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_video_without_a_whole_frame_is_none(tmp_path, data, ending) -> None:
    video = tmp_path / f"video.{ending}"
    video.write_bytes(data)
    assert repair_video_end(video, tmp_path / "kept") == (False, [])
    assert video.read_bytes() == data


def test_damage_long_before_the_end_costs_nothing_else(videos, tmp_path) -> None:
    """It has another cause than the power, and what follows it is sound."""
    from posestream.acquisition.camera import CameraFormat
    from posestream.acquisition.encoder import VideoWriter
    from posestream.stream.wire.settings import RecordingSettings

    camera, rng = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=10.0), np.random.default_rng(0)
    video = tmp_path / "video.mp4"
    writer = VideoWriter(video, RecordingSettings(), camera)
    for number in range(FRAMES):
        writer.write(rng.integers(0, 256, camera.shape, np.uint8), number * 100_000)
    data = bytearray(video.read_bytes())
    data[20_000:20_200] = bytes(200)
    video.write_bytes(data)
    writer.close()
    video.write_bytes(data)
    assert decode_video(video).problem
    assert repair_video_end(video, tmp_path / "kept") == (True, [])
    assert video.read_bytes() == data
