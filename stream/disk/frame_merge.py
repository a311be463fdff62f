"""Puts what became of each frame into the frame table, when a camera's files are closed or recovered.

While a camera records, `frames.csv` says that a frame was delivered, and `packets.csv` what the encoder made of it.
Both are read row by row, so that a session of days takes no memory, and the new table takes the place of the old one as
a whole: a kill on the way leaves the two as they were.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from posestream.stream.disk.durable import replacing, sync_folder
from posestream.stream.disk.notes import Note, join_notes
from posestream.stream.disk.tables import FRAME_COLUMNS, PACKET_COLUMNS, FrameState

__all__ = ["FRAMES", "PACKETS", "merge_frame_tables"]

FRAMES, PACKETS = "frames.csv", "packets.csv"
TELL_ROWS = 1_000
MAX_OVERTAKEN = 200_000
"""Rows of lost frames in which that of a late one is looked for: more than one gap has."""
LOST, LATE = f",{FrameState.LOST_CAMERA.value},".encode(), Note.ID_CAME_LATE.beginning.encode()
ANEW = tuple(note.beginning.encode() for note in (Note.IDS_BEGAN_ANEW, Note.ID_JUMPED))


def merge_frame_tables(folder: Path, tell: Callable[[int], None] | None = None) -> None:
    """Merge `packets.csv` into `frames.csv` and remove it; does nothing where there is none.

    Frames that came late lose the row that said that they were lost. Rows `delivered` of which `packets.csv` knows
    nothing stay as they are. Merging again changes nothing.

    Parameters
    ----------
    folder
        The camera's folder.
    tell
        Is told now and then how many rows were done.

    Raises
    ------
    OSError, ValueError
        Where a table can't be read or written.
    """
    table, packets = folder / FRAMES, folder / PACKETS
    if not packets.exists():
        return
    frames = _rows(table, FRAME_COLUMNS, _overtaken(table))
    with replacing(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as new:
        writer = csv.writer(new, lineterminator="\n")
        writer.writerow(FRAME_COLUMNS)
        for done, row in enumerate(_settled(frames, _rows(packets, PACKET_COLUMNS))):
            writer.writerow(row)
            if tell is not None and done % TELL_ROWS == 0:
                tell(done)
    packets.unlink()
    sync_folder(folder)


def _settled(frames: Iterator[list[str]], packets: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows of the frame table with what the packets say; both are in the order of the frames."""
    seq_at, place_at, pts_at, crc_at, state_at, note_at = map(FRAME_COLUMNS.index, PACKET_COLUMNS)
    packet = next(packets, None)
    for row in frames:
        while packet is not None and row[seq_at] and int(packet[0]) < int(row[seq_at]):
            packet = next(packets, None)
        if packet is not None and row[state_at] == FrameState.DELIVERED.value and packet[0] == row[seq_at]:
            _, row[place_at], row[pts_at], row[crc_at], row[state_at], note = packet
            row[note_at] = join_notes((row[note_at], note))
        yield row


def _rows(path: Path, columns: tuple[str, ...], left_out: frozenset[int] = frozenset()) -> Iterator[list[str]]:
    rows = csv.reader(line.decode() for line in _lines(path))
    header = tuple(next(rows, columns))
    if header != columns:
        raise ValueError(f"{path.name} has other columns than {', '.join(columns[:3])} ...")
    for number, row in enumerate(rows):
        if number not in left_out:
            yield row


def _overtaken(table: Path) -> frozenset[int]:
    """Numbers of the rows that say of a frame that it was lost which came late after all."""
    lost: dict[int, int] = {}
    found: set[int] = set()
    for number, line in enumerate(_lines(table), -1):
        if LOST in line:
            lost[_device_id(line)] = number
            if len(lost) > MAX_OVERTAKEN:
                lost = dict(list(lost.items())[MAX_OVERTAKEN // 2 :])
        elif LATE in line and (row := lost.pop(_device_id(line), None)) is not None:
            found.add(row)
        elif any(note in line for note in ANEW):
            lost.clear()
    return frozenset(found)


def _device_id(line: bytes) -> int:
    return int(line.split(b",", 2)[1])


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a table up to the last whole one, as `posestream.stream.disk.tables.whole_lines` has them."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or b"\0" in line:
                return
            yield line
