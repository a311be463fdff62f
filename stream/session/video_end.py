"""Cuts off what a power failure left damaged at the end of a video: frames that are torn, and zeros.

What was brought to the disk is whole, and what came later may be there in part: the file is shorter than it was, or it
has holes. Containers are walked box by box, so that what is left ends with a whole box; whether the frames in the last
ones are whole is seen by decoding them.
"""

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

from posestream.stream.disk.links import refuse_link
from posestream.stream.disk.video_files import open_video

__all__ = ["repair_video_end"]

END_S = 10.0
"""Seconds at the end in which a damaged frame is taken for one that never reached the disk; it is cut off with what
follows. Damage before that has another cause, and nothing is cut for it."""
MP4_BOXES = (b"ftyp", b"free", b"moov", b"mdat", b"moof")
EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
MKV_PARTS = {
    EBML,
    0x114D9B74,  # SeekHead
    0x1549A966,  # Info
    0x1654AE6B,  # Tracks
    0x1254C367,  # Tags
    0x1C53BB6B,  # Cues
    0xEC,  # Void
    0xBF,  # CRC-32
    0xE7,  # Timestamp of a cluster
    0xAB,  # PrevSize
    0xA3,  # SimpleBlock
    0xA0,  # BlockGroup
}
MKV_FRAMES = {0xA3, 0xA0}


def repair_video_end(video: Path, kept: Path) -> tuple[bool, list[str]]:
    """Cut off what is damaged at the end of a video that was being written when everything stopped.

    Parameters
    ----------
    video
        The file, mp4 or mkv as the recorder writes them.
    kept
        Folder to keep what is cut off in; it is made when there is something to keep.

    Returns
    -------
    whole
        Whether there is a whole frame in it.
    done
        What was done, a sentence each.

    Raises
    ------
    OSError
        Where a file can't be read or written.
    """
    ends, closed = _ends(video)
    damage = _first_damage(video, ends[-1]) if ends else None
    if closed and damage is None:
        return True, []
    done = []
    if video.suffix == ".mp4" and _open_again(video):
        done.append(f"{video.name} was being closed, and is one in fragments again")
        ends, _ = _ends(video)
        damage = _first_damage(video, ends[-1]) if ends else None
    whole = [end for end in ends if damage is None or end <= damage]
    size = video.stat().st_size
    if whole and whole[-1] < size:
        _cut(video, whole[-1], kept)
        done.append(f"{size - whole[-1]} damaged bytes at the end of {video.name} were cut off")
    return bool(whole), done


def _ends(video: Path) -> tuple[list[int], bool]:
    """Places in the file behind each part that has frames and is whole; whether it is a closed mp4."""
    if not video.stat().st_size:
        return [], False
    walk: Callable[[mmap.mmap], tuple[list[int], bool]] = _mp4_ends if video.suffix == ".mp4" else _mkv_ends
    with video.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return walk(data)


def _mp4_ends(data: mmap.mmap) -> tuple[list[int], bool]:
    ends, at, kind = [], 0, b""
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if kind not in MP4_BOXES or size < 8 or at + size > len(data):
            break
        at += size
        if kind == b"mdat":
            ends.append(at)
    return ends, bool(ends) and at == len(data) and kind == b"moov"


def _mkv_ends(data: mmap.mmap) -> tuple[list[int], bool]:
    ends: list[int] = []
    for element, end in _mkv_elements(data):
        # What follows the frames, such as the index of a file that was closed, belongs to what is whole.
        if element in MKV_FRAMES or ends:
            ends.append(end)
    return ends, False


def _mkv_elements(data: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Id and end of every whole element of the segment and its clusters (RFC 8794, RFC 9559)."""
    at = 0
    while at + 2 <= len(data):
        lead = data[at]
        width = 9 - lead.bit_length()
        if width > 4:
            return
        element, at = int.from_bytes(data[at : at + width]), at + width
        if at >= len(data) or not data[at]:
            return
        width = 9 - data[at].bit_length()
        size, at = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1), at + width
        if element in {SEGMENT, CLUSTER}:  # their size may not be known yet; what is in them follows
            continue
        if element not in MKV_PARTS or at + size > len(data):
            return
        at += size
        yield element, at


def _open_again(video: Path) -> bool:
    """Give an mp4 that was closed, or nearly, the beginning back that it had while it grew; False where it is no such.

    When FFmpeg closes a `hybrid_fragmented` file it writes the index to the end, and then turns a box `free` at the
    beginning into a `mdat` that holds all fragments. What that box held stands behind it: a second `ftyp`.
    """
    refuse_link(video)
    with video.open("r+b") as file:
        head = file.read(4096)
        at = int.from_bytes(head[:4])
        inner = int.from_bytes(head[at + 16 : at + 20])
        held = head[at + 16 : at + 16 + inner]
        if not (head[4:8] == held[4:8] == b"ftyp" and b"mdat" in (head[at + 4 : at + 8], head[at + 12 : at + 16])):
            return False
        file.seek(at)
        file.write(b"\0\0\0\x08free" + (8 + inner).to_bytes(4) + b"free")
    return True


def _first_damage(video: Path, end: int) -> int | None:
    """Place in the file of the first frame of the last seconds before `end` that can't be decoded, if there is one."""
    import av.error

    try:
        with open_video(video) as container:
            stream = container.streams.video[0]
            packets = [
                (packet.pts, packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.pts is not None and packet.pos is not None and packet.pos < end
            ]
            if not packets or stream.time_base is None:
                return None
            first_pts = packets[-1][0] - END_S / stream.time_base
        begin_pts = max((pts for pts, key in packets if key and pts <= first_pts), default=packets[0][0])
        return _damage_from(video, begin_pts, end)
    except (av.error.FFmpegError, OSError, IndexError):
        return None  # what keeps it from being opened is said by whoever decodes it


def _damage_from(video: Path, begin_pts: int, end: int) -> int | None:
    import av.error

    places: dict[int, int] = {}
    with open_video(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # an error is then that of the packet just given
        escaped = stream.codec_context.name in {"h264", "hevc"}
        for packet in container.demux(stream):
            if packet.pts is not None and packet.pos is not None:
                if packet.pts < begin_pts or packet.pos >= end:
                    continue
                places[packet.pts] = packet.pos
                # H.264 never has three zero bytes in a row, nor one at the end: what has lies in a hole.
                data = bytes(packet)
                if escaped and (data.endswith(b"\0") or bytes(8) in data):
                    return packet.pos
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                return packet.pos if packet.pos is not None else max(places.values(), default=None)
            for frame in frames:
                if frame.is_corrupt and frame.pts in places:
                    return places[frame.pts]
    return None


def _cut(video: Path, at: int, kept: Path) -> None:
    refuse_link(video)
    kept.mkdir(exist_ok=True)
    with video.open("r+b") as file, (kept / f"{video.name}.end").open("wb") as end:
        file.seek(at)
        while block := file.read(2**20):
            end.write(block)
        file.truncate(at)
