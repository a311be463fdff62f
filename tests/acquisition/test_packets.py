"""A packet's checksum is the same for the encoder and for whoever reads the file."""

import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from posestream.acquisition.camera import CameraFormat
from posestream.acquisition.encoder import VideoWriter
from posestream.stream.disk.packets import packet_crc32
from posestream.stream.session.video_times import decode_video
from posestream.stream.wire.settings import RecordingSettings

GREY = CameraFormat(height=480, width=640, pixel_format="gray8", rate_hz=100.0)
CODECS: dict[str, dict[str, Any]] = {
    "libx264": {},
    "libx265": {"preset": "ultrafast", "options": {"x265-params": "log-level=none:bframes=0"}},
    "libsvtav1": {"preset": "13", "options": {"svtav1-params": "pred-struct=1:lookahead=0"}},
    "libvpx-vp9": {"preset": None, "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mjpeg": {"preset": None, "crf": None, "pixel_format": "yuvj420p"},
    "ffv1": {"preset": None, "crf": None, "pixel_format": "gray"},
}


def packets_in(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        return [
            packet_crc32(bytes(packet), codec.codec.canonical_name, codec.extradata)
            for packet in container.demux(stream)
            if packet.size
        ]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", CODECS)
def test_it_is_the_same_in_the_file_open_or_closed(tmp_path: Path, codec: str, container: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"FFmpeg has no {codec} here")
    path, growing = tmp_path / f"video.{container}", tmp_path / f"growing.{container}"
    settings: dict[str, Any] = {"pixel_format": "yuv420p", "container": container, "codec": codec} | CODECS[codec]
    video = VideoWriter(path, RecordingSettings(**settings), GREY)
    pixels, written = np.random.default_rng(0).integers(0, 256, GREY.shape, np.uint8), []
    for number in range(120):
        pixels[4 * number % 480] = number
        written += video.write(pixels, number * 10_000)
    shutil.copy(path, growing)
    began = len(written)
    written += video.close()
    sums = [packet.crc32 for packet in written]
    assert len(sums) == 120
    assert len(set(sums)) > 100
    assert packets_in(path) == sums
    if began > 60:  # some encoders keep everything to themselves until the end
        found = packets_in(growing)
        assert len(found) > 40
        assert found == sums[: len(found)]
    decoded = decode_video(path)
    assert decoded.problem == ""
    assert decoded.crc32.tolist() == sums


def test_what_is_coded_counts_and_how_it_is_packed_does_not() -> None:
    picture, other = b"\x65\x88\x80\x10\xff", b"\x61\x9a\x00\x03\x01"
    parameters = b"\x67\x42\xc0", b"\x68\xce\x38\x80", b"\x09\xf0"
    annex_b = b"".join(b"\0\0\0\1" + unit for unit in (*parameters, picture)) + b"\0\0\1" + other
    lengths = b"".join(len(unit).to_bytes(4) + unit for unit in (picture, other))
    record = b"\1\x42\xc0\x1e\xff"
    assert packet_crc32(annex_b, "h264", None) == packet_crc32(annex_b, "h264", b"\0\0\0\1\x67")
    assert packet_crc32(annex_b, "h264", None) == packet_crc32(lengths, "h264", record)
    for place in range(len(lengths) - 1):
        changed = bytearray(lengths)
        changed[place] ^= 0x20
        assert packet_crc32(bytes(changed), "h264", record) != packet_crc32(lengths, "h264", record)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "mjpeg"])
@pytest.mark.parametrize("extradata", [None, b"", b"\1", b"\1" * 40])
def test_whatever_a_damaged_packet_holds_it_has_a_checksum(codec: str, extradata: bytes | None) -> None:
    rng = np.random.default_rng(0)
    for size in [*range(40), 1_000]:
        packet = rng.integers(0, 256, size, np.uint8).tobytes()
        assert 0 <= packet_crc32(packet, codec, extradata) < 2**32
        assert 0 <= packet_crc32(bytes(size), codec, extradata) < 2**32
