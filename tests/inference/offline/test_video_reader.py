"""Videos are read as DeepLabCut reads them: held to OpenCV, which it uses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from posestream.inference.engines.check import video_frames
from posestream.inference.engines.quantise import spread_frames
from posestream.inference.errors import VideoError
from posestream.inference.offline.video_reader import VideoReader

from ...support.videos import hold_sideways

FRAMES = 12
WIDTH, HEIGHT = 80, 48


def write(
    path: Path,
    pictures: list[np.ndarray],
    pixel_format: str,
    full_range: bool = False,
    codec: str = "libx264",
    **options: str,
) -> Path:
    """Write RGB pictures without loss but for what the pixel format takes."""
    with av.open(str(path), "w", options=options) as container:
        lossless = {"qp": "0", "preset": "ultrafast"} if codec == "libx264" else {}
        stream: Any = container.add_stream(codec, rate=25, options=lossless)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        if full_range:
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
            if full_range:
                frame.color_range = av.video.reformatter.ColorRange.JPEG
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def grey(rng: np.random.Generator) -> list[np.ndarray]:
    pictures = rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 1), np.uint8)
    pictures[:, :4, :64, 0] = np.arange(256, dtype=np.uint8).reshape(4, 64)
    return list(pictures.repeat(3, axis=-1))


@pytest.fixture
def colour(rng: np.random.Generator) -> list[np.ndarray]:
    return list(rng.integers(0, 256, (FRAMES, HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2))


def opencv(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    capture.release()
    return np.stack(frames)


def read(path: Path, first: int = 0) -> tuple[list[int], np.ndarray, str]:
    with VideoReader(path) as reader:
        found = [(number, pixels.copy()) for number, pixels in reader.frames(first)]
        assert {pixels.shape[:2] for _, pixels in found} == {(reader.height, reader.width)}
        return [number for number, _ in found], np.stack([pixels for _, pixels in found]), reader.problem


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "gray"])
@pytest.mark.parametrize("full_range", [False, True])
def test_grey_videos_are_those_of_opencv(grey, tmp_path: Path, pixel_format: str, full_range: bool) -> None:
    path = write(tmp_path / "grey.mp4", grey, pixel_format, full_range)
    numbers, pixels, problem = read(path)
    assert numbers == list(range(FRAMES))
    assert problem == ""
    assert pixels.shape[-1] == 1
    np.testing.assert_array_equal(np.broadcast_to(pixels, (FRAMES, HEIGHT, WIDTH, 3)), opencv(path))


@pytest.mark.parametrize(
    ("codec", "pixel_format", "ending"),
    [("ffv1", "gray", "mkv"), ("mjpeg", "yuvj420p", "avi"), ("rawvideo", "gray", "avi"), ("ffv1", "yuv420p", "mkv")],
)
def test_grey_of_other_codecs_is_that_of_opencv(
    grey, tmp_path: Path, codec: str, pixel_format: str, ending: str
) -> None:
    path = write(tmp_path / f"grey.{ending}", grey, pixel_format, codec=codec)
    _, pixels, _ = read(path)
    np.testing.assert_array_equal(np.broadcast_to(pixels, (FRAMES, HEIGHT, WIDTH, 3)), opencv(path))


def test_deeper_pixels_come_with_eight_bits(grey, tmp_path: Path) -> None:
    path = write(tmp_path / "grey.mp4", grey, "gray10le")
    _, pixels, _ = read(path)
    np.testing.assert_allclose(pixels.astype(int), opencv(path), atol=4)  # each dithers in its own way


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_colour_is_that_of_opencv(colour, tmp_path: Path, pixel_format: str) -> None:
    path = write(tmp_path / "colour.mp4", colour, pixel_format)
    _, pixels, _ = read(path)
    np.testing.assert_array_equal(pixels, opencv(path))


def test_the_clip_is_that_of_opencv(openfield_clip: Path) -> None:
    numbers, pixels, problem = read(openfield_clip)
    assert numbers == list(range(548))
    assert problem == ""
    assert pixels.shape == (548, 480, 640, 1)
    capture = cv2.VideoCapture(str(openfield_clip))
    for frame in pixels:
        np.testing.assert_array_equal(np.broadcast_to(frame, (480, 640, 3)), capture.read()[1])
    capture.release()


def test_colour_in_a_later_frame(grey, colour, tmp_path: Path) -> None:
    path = write(tmp_path / "both.mp4", [*grey[:3], *colour[:3], *grey[3:]], "yuv444p")
    with VideoReader(path) as reader:
        channels = [pixels.shape[2] for _, pixels in reader.frames()]
    assert channels == [1] * 3 + [3] * (FRAMES)


def test_a_rotated_video_is_upright(grey, colour, tmp_path: Path) -> None:
    for name, pictures in (("grey.mp4", grey), ("colour.mp4", colour)):
        path = write(tmp_path / name, pictures, "yuv420p")
        hold_sideways(path)
        _, pixels, _ = read(path)
        assert pixels.shape[1:3] == (WIDTH, HEIGHT)
        np.testing.assert_array_equal(np.broadcast_to(pixels, (*pixels.shape[:3], 3)), opencv(path))
        checked = next(video_frames(path))
        assert checked.shape == (WIDTH, HEIGHT, 3)
        np.testing.assert_array_equal(checked, opencv(path)[0])
        np.testing.assert_array_equal(spread_frames(path, 2, None)[0], opencv(path)[0])


def test_it_begins_where_it_is_told(grey, tmp_path: Path) -> None:
    path = write(tmp_path / "grey.mp4", grey, "yuv420p")
    numbers, pixels, _ = read(path, first=7)
    assert numbers == list(range(7, FRAMES))
    np.testing.assert_array_equal(pixels, read(path)[1][7:])


def test_a_video_that_was_cut_short_says_so(colour, tmp_path: Path) -> None:
    path = write(tmp_path / "whole.mp4", colour, "yuv420p", movflags="faststart")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    numbers, _, problem = read(path)
    assert 0 < len(numbers) < FRAMES
    assert numbers == list(range(len(numbers)))
    assert f"cut short: of {FRAMES} frames" in problem


def test_a_damaged_video_says_so(grey, tmp_path: Path) -> None:
    path = write(tmp_path / "grey.mp4", grey, "yuv420p", movflags="faststart")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8000] = b"\xff" * 8000
    path.write_bytes(data)
    numbers, _, problem = read(path)
    assert numbers == list(range(len(numbers)))
    assert "damaged" in problem or "can't be decoded" in problem


def text(path: Path) -> None:
    path.write_text("no video")


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def nothing_in_it(path: Path) -> None:
    write(path, [np.zeros((HEIGHT, WIDTH, 3), np.uint8)], "yuv420p", movflags="faststart")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "there is no such file"),
        (text, "it is not a video"),
        (sound, "no video stream"),
        (nothing_in_it, "no frame that can be decoded"),
    ],
)
def test_what_is_no_video_is_refused(make: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(VideoError, match=says) as refused:
        VideoReader(path)
    assert str(path) in str(refused.value)
