"""Manipulations of the videos of a session, by decoding and encoding anew, packet by packet, and of the file."""

import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from forged import Manipulation, append_byte, flip_byte, put_in_place
from numpy.typing import NDArray

__all__ = ["of_videos"]

Grey = NDArray[np.uint8]


# Videos.


def of_videos(session: Path, other: Path) -> Iterator[Manipulation]:
    """Give changes of the video of a camera."""

    def on(name: str, change: Callable[[Path], None], camera: str = "a") -> Manipulation:
        return Manipulation(f"video: {name}", "video", lambda copy: change(copy / camera / "video.mp4"))

    yield on("all frames black", partial(_reencode, picture=np.zeros_like))
    yield on("frames in reverse order", partial(_reencode, order=lambda number: list(range(number))[::-1]))
    yield on("two frames swapped", partial(_reencode, order=lambda number: _swapped(number, 6, 15)))
    yield on("one frame is a copy of the one before", partial(_reencode, order=_stuck))
    yield on("the same frames at lower quality", partial(_reencode, crf="40"))
    yield on("the same frames at higher quality", partial(_reencode, crf="5"))
    yield on("mirrored", partial(_reencode, picture=lambda grey: np.ascontiguousarray(grey[:, ::-1])))
    yield on("a corner painted over", partial(_reencode, picture=_painted))
    yield on("the last second cut off", _cut)
    yield on("one packet replaced by the next", partial(_replace_packet, by_next=True))
    yield on("one bit of a packet's middle flipped", partial(_replace_packet, by_next=False))
    yield on("one frame's time moved by 1 ms", _move_time)
    yield on("a byte in the middle of the file changed", flip_byte)
    yield on("a byte appended", append_byte)
    yield on("of another session", lambda video: put_in_place(other / "a" / "video.mp4", video))
    yield on("a link to another session's", lambda video: _link(other / "a" / "video.mp4", video))
    yield on("a link to the same video elsewhere", lambda video: _link_same(session / "a" / "video.mp4", video))

    def exchange(copy: Path) -> None:
        (copy / "a" / "video.mp4").rename(copy / "kept")
        (copy / "b" / "video.mp4").rename(copy / "a" / "video.mp4")
        (copy / "kept").rename(copy / "b" / "video.mp4")

    yield Manipulation("video: those of two cameras exchanged", "video", exchange)


def _reencode(
    video: Path,
    picture: Callable[[Grey], Grey] = lambda grey: grey,
    order: Callable[[int], list[int]] = lambda number: list(range(number)),
    crf: str = "18",
) -> None:
    """Encode the frames anew, at the same times."""
    with av.open(str(video)) as old:
        frames = [(seconds(frame), grey(frame)) for frame in old.decode(video=0)]
    video.unlink()
    with av.open(str(video), "w") as new:
        stream = new.add_stream("libx264", rate=30, options={"crf": crf, "preset": "ultrafast", "bf": "0"})
        stream.height, stream.width = frames[0][1].shape
        stream.pix_fmt, stream.codec_context.color_range = "gray", 2
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1_000_000)
        for (time_s, _), source in zip(frames, order(len(frames)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture(frames[source][1]), format="gray")
            frame.pts, frame.time_base = round(time_s * 1_000_000), Fraction(1, 1_000_000)
            new.mux(stream.encode(frame))
        new.mux(stream.encode())


def seconds(frame: av.VideoFrame) -> Fraction:
    """Give the time of a frame."""
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base


def grey(frame: av.VideoFrame) -> Grey:
    """Give a frame (height, width)."""
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def _swapped(number: int, one: int, two: int) -> list[int]:
    order = list(range(number))
    order[one], order[two] = two, one
    return order


def _stuck(number: int) -> list[int]:
    order = list(range(number))
    order[9] = 8
    return order


def _painted(grey: Grey) -> Grey:
    grey = grey.copy()
    grey[:40, :40] = 255
    return grey


def _remux(video: Path, change: Callable[[int, Any], Any]) -> None:
    """Write the packets as they are into a new file, each as `change(place, packet)` gives it; None leaves it out."""
    kept = video.with_name("kept.mp4")
    with av.open(str(video)) as old, av.open(str(kept), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for place, _packet in enumerate(packets):
            if (changed := change(place, packets)) is not None:
                changed.stream = stream
                new.mux(changed)
    kept.replace(video)


def _copied(packet: Any, data: bytes | None = None) -> Any:
    copy = av.Packet(bytes(packet) if data is None else data)
    copy.pts, copy.dts, copy.time_base, copy.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy


def _cut(video: Path) -> None:
    def until_last_second(place: int, packets: list[Any]) -> Any:
        last = packets[-1]
        return _copied(packets[place]) if packets[place].pts < last.pts - 1 / last.time_base else None

    _remux(video, until_last_second)


def _replace_packet(video: Path, by_next: bool) -> None:
    def change(place: int, packets: list[Any]) -> Any:
        packet = packets[place]
        if place != 7:
            return _copied(packet)
        data = bytearray(bytes(packets[place + 1] if by_next else packet))
        if not by_next:
            data[len(data) // 2] ^= 1
        return _copied(packet, bytes(data))

    _remux(video, change)


def _move_time(video: Path) -> None:
    def change(place: int, packets: list[Any]) -> Any:
        copy = _copied(packets[place])
        if place == 7:
            copy.pts = copy.dts = copy.pts + round(Fraction(1, 1000) / copy.time_base)
        return copy

    _remux(video, change)


def _link(source: Path, target: Path) -> None:
    target.unlink()
    target.symlink_to(source)


def _link_same(source: Path, target: Path) -> None:
    outside = target.parents[2] / "outside.mp4"  # beside the copy of the session
    shutil.copyfile(source, outside)
    _link(outside, target)
