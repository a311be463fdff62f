import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from posestream.acquisition.camera import CameraFormat
from posestream.acquisition.encoder import EncoderError, VideoWriter
from posestream.stream.wire.settings import RecordingSettings

GREY = CameraFormat(height=120, width=160, pixel_format="gray8", rate_hz=100.0)
COLOUR = CameraFormat(height=120, width=160, pixel_format="rgb24", rate_hz=100.0)


def picture(camera: CameraFormat, seed: int = 0) -> np.ndarray:
    """Smooth, so that compression changes little, and from black to white, so that a squeezed range shows."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, camera.shape[2]), np.uint8)
    large = cv2.resize(small, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    large = cv2.normalize(large, np.empty_like(large), 0, 255, cv2.NORM_MINMAX)
    return np.ascontiguousarray(np.asarray(large, np.uint8).reshape(camera.shape))


def record(path: Path, camera: CameraFormat, times_us: list[int], **settings: Any) -> list[np.ndarray]:
    container: Any = path.suffix[1:]
    video = VideoWriter(path, RecordingSettings(container=container, **settings), camera)
    pictures = [picture(camera, number % 3) for number in range(len(times_us))]
    for pixels, time_us in zip(pictures, times_us, strict=True):
        assert [packet.pts_us for packet in video.write(pixels, time_us)] == [time_us]  # one frame in, one packet out
    assert video.close() == []
    return pictures


def times_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        base: Any = container.streams.video[0].time_base
        return [round(frame.pts * base * 1_000_000) for frame in container.decode(video=0)]


UNEVEN = [0, 10_000, 20_017, 29_999, 500_000, 500_001, 2_000_500_001]


def test_mp4_keeps_capture_times_to_the_microsecond(tmp_path: Path) -> None:
    record(tmp_path / "video.mp4", GREY, UNEVEN)
    assert times_of(tmp_path / "video.mp4") == UNEVEN


def test_matroska_keeps_capture_times_to_the_millisecond(tmp_path: Path) -> None:
    record(tmp_path / "video.mkv", GREY, UNEVEN[:5])
    assert times_of(tmp_path / "video.mkv") == [round(time, -3) for time in UNEVEN[:5]]


@pytest.mark.parametrize("camera", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_what_is_read_back_is_what_the_camera_saw(tmp_path: Path, camera: CameraFormat, ending: str) -> None:
    path = tmp_path / f"video.{ending}"
    pictures = record(path, camera, list(range(0, 60_000, 10_000)), crf=8)
    reader = cv2.VideoCapture(str(path))  # what DeepLabCut reads with
    for pixels in pictures:
        ok, bgr = reader.read()
        assert ok
        seen = bgr[..., 1:2] if camera is GREY else bgr[..., ::-1]
        difference = seen.astype(int) - pixels
        assert np.abs(difference).mean() < 2.5  # a range squeezed to 16..235 would differ by 8 and more
    reader.release()


def test_grey_stays_grey_and_the_range_is_full(tmp_path: Path) -> None:
    record(tmp_path / "video.mp4", GREY, [0, 10_000])
    with av.open(str(tmp_path / "video.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.color_range == 2  # full
        rgb = frame.to_ndarray(format="rgb24").astype(int)
    assert np.abs(rgb - rgb[..., :1]).max() == 0


def test_keyframes_come_by_time(tmp_path: Path) -> None:
    times = [0, 300_000, 600_000, 1_100_000, 1_200_000, 5_000_000, 5_100_000]
    record(tmp_path / "video.mp4", GREY, times, keyframe_interval_s=1.0)
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert [frame.key_frame for frame in container.decode(video=0)] == [
            True,
            False,
            False,
            True,
            False,
            True,
            False,
        ]


@pytest.mark.parametrize(("height", "width"), [(121, 161), (120, 161)])
@pytest.mark.parametrize("pixel_format", ["gray8", "bgr24"])
def test_odd_sizes_are_recorded_whole(tmp_path: Path, height: int, width: int, pixel_format: Any) -> None:
    camera = CameraFormat(height=height, width=width, pixel_format=pixel_format)
    record(tmp_path / "video.mp4", camera, [0, 10_000])
    with av.open(str(tmp_path / "video.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.height, frame.width) == (height, width)


KILLED = """
    import sys, time
    from pathlib import Path
    import numpy as np
    from posestream.acquisition.camera import CameraFormat
    from posestream.acquisition.encoder import VideoWriter
    from posestream.stream.wire.settings import RecordingSettings

    path = Path(sys.argv[1])
    camera = CameraFormat(height=120, width=160, pixel_format="gray8", rate_hz=100.0)
    video = VideoWriter(path, RecordingSettings(container=path.suffix[1:]), camera)
    pixels = np.random.default_rng(0).integers(0, 256, camera.shape, np.uint8)
    for number in range(100_000):
        video.write(np.roll(pixels, number, 1), number * 10_000)
        print(number, flush=True)
        time.sleep(0.002)
"""


@pytest.mark.parametrize(("ending", "may_miss"), [("mp4", 1), ("mkv", 60)])
def test_a_video_whose_writer_was_killed_can_be_played(tmp_path: Path, ending: str, may_miss: int) -> None:
    path = tmp_path / f"video.{ending}"
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 250:
            break
    writer.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    written = 250 + sum(1 for _ in writer.stdout)
    writer.wait()
    writer.stdout.close()
    times: list[Any] = []
    try:
        with av.open(str(path)) as container:
            base: Any = container.streams.video[0].time_base
            times.extend(frame.pts * base for frame in container.decode(video=0))
    except av.error.FFmpegError:
        pass  # the last packet may be cut in the middle
    assert len(times) >= written - may_miss
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"codec": "libx265000"}, 'no encoder "libx265000"'),
        ({"preset": "warp"}, "refuses preset 'warp'"),
        ({"pixel_format": "nonsense"}, 'no pixel format "nonsense"'),
        ({"pixel_format": "gray12le"}, 'encoder "libx264" does not take "gray12le"; it takes .*gray10le'),
    ],
)
def test_settings_that_the_encoder_refuses_are_named_before_a_file_is_made(settings: dict, text: str) -> None:
    with pytest.raises(EncoderError, match=text):
        VideoWriter(None, RecordingSettings(**settings), GREY)


def test_a_folder_that_is_not_there_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"gone.*video\.mp4"):
        VideoWriter(tmp_path / "gone" / "video.mp4", RecordingSettings(), GREY)


def deep(bits: int) -> CameraFormat:
    return CameraFormat(height=64, width=64, pixel_format="gray8", rate_hz=100.0, bits=bits)


def ramp(bits: int) -> np.ndarray:
    """Values over the whole range, neighbours in value being neighbours in place; of 12 bits and less, every value."""
    return np.linspace(0, 2**bits - 1, 64 * 64).round().astype(np.uint16).reshape(64, 64, 1)


def read_deep(path: Path, pixel_format: str) -> np.ndarray:
    """The first frame's luma as it was decoded, without a conversion between."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == pixel_format
        luma: Any = frame.planes[0]
        return np.frombuffer(bytes(luma), np.uint16).reshape(luma.height, -1)[:, : luma.width].astype(int)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize(
    ("pixel_format", "depth"), [("gray16le", 16), ("gray12le", 12), ("gray14le", 14), ("gray10le", 10)]
)
def test_ffv1_keeps_every_bit_that_the_format_holds(tmp_path: Path, bits: int, pixel_format: str, depth: int) -> None:
    settings = RecordingSettings(codec="ffv1", container="mkv", pixel_format=pixel_format)
    video = VideoWriter(tmp_path / "video.mkv", settings, deep(bits))
    assert video.deep
    written = [video.write(ramp(bits), time) for time in (0, 10_000)]
    assert [[packet.pts_us for packet in packets] for packets in written] == [[0], [10_000]]
    video.close()
    seen = read_deep(tmp_path / "video.mkv", pixel_format)
    kept = min(bits, depth)
    assert np.array_equal(seen >> (depth - kept), ramp(bits)[..., 0] >> (bits - kept))


def test_high_bit_depth_h264_keeps_ten_bits_but_for_what_compression_costs(tmp_path: Path) -> None:
    video = VideoWriter(tmp_path / "video.mp4", RecordingSettings(pixel_format="gray10le", crf=1), deep(12))
    video.write(ramp(12), 0)
    video.close()
    # FFmpeg's decoder gives 4:0:0 of ten bits with empty colour planes
    difference = read_deep(tmp_path / "video.mp4", "yuv420p10le") - (ramp(12)[..., 0] >> 2)
    assert np.abs(difference).max() <= 2  # bits at the wrong end, or a squeezed range, would differ by tens


@pytest.mark.parametrize("pixel_format", ["auto", "gray", "yuv420p"])
def test_deep_frames_are_recorded_with_eight_bits_unless_asked_otherwise(pixel_format: str) -> None:
    assert not VideoWriter(None, RecordingSettings(pixel_format=pixel_format), deep(12)).deep


def test_eight_bits_are_not_made_deep() -> None:
    assert not VideoWriter(None, RecordingSettings(pixel_format="gray10le"), GREY).deep


def test_a_rate_that_matroska_can_not_count_is_refused() -> None:
    fast = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=2_000.0)
    with pytest.raises(EncoderError, match="use mp4"):
        VideoWriter(None, RecordingSettings(container="mkv"), fast)
    VideoWriter(None, RecordingSettings(), fast)
