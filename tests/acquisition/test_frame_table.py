import csv
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posestream.acquisition.camera import Capture
from posestream.acquisition.frame_table import FrameTable, PacketTable
from posestream.acquisition.stamps import Stamped
from posestream.stream.disk.frame_merge import merge_frame_tables
from posestream.stream.disk.tables import FRAME_COLUMNS, FrameState, whole_lines


def stamped(seq: int, captured_ns: int, device_id: int | None = None, note: str = "", **capture) -> Stamped:
    return Stamped(
        frame_seq=seq,
        capture=Capture(captured_ns=captured_ns + 2, **capture),
        device_id=device_id,
        captured_ns=captured_ns,
        wall_ns=1000,
        lost=range(0),
        id_note="",
        note=note,
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "frames.csv").read_text().splitlines()))


def write(folder: Path, states: Iterable[FrameState], encoded: int) -> None:
    """Tables of a recording in which the encoder has come so far."""
    frames, packets, left = FrameTable(folder), PacketTable(folder), encoded
    for seq, state in enumerate(states):
        frames.delivered(stamped(seq, seq), state)
        if state is FrameState.DELIVERED and left:
            left -= 1
            packets.recorded(seq, 10 * seq, seq, "")
    frames.close()
    packets.close()


def test_a_row_for_every_frame_in_order(tmp_path: Path) -> None:
    table, packets = FrameTable(tmp_path), PacketTable(tmp_path)
    table.delivered(stamped(0, 10, 5, device_time=99), FrameState.DELIVERED)
    late = Stamped(1, Capture(captured_ns=42), 8, 40, 1000, range(6, 8), "", "odd, very")
    table.delivered(late, FrameState.LOST_QUEUE)
    table.delivered(stamped(2, 50, 9, "odd"), FrameState.DELIVERED)
    packets.recorded(0, 0, 0xAB, "")
    packets.recorded(2, 40, 2**32 - 1, "repaired")
    table.close()
    packets.close()
    merge_frame_tables(tmp_path)
    rows = rows_of(tmp_path)
    assert tuple(rows[0]) == FRAME_COLUMNS
    assert [row["device_id"] for row in rows] == ["5", "6", "7", "8", "9"]
    assert [row["state"] for row in rows] == ["recorded", "lost-camera", "lost-camera", "lost-queue", "recorded"]
    assert [row["video_frame"] for row in rows] == ["0", "", "", "", "1"]
    assert [row["crc32"] for row in rows] == ["000000ab", "", "", "", "ffffffff"]
    assert [(row["captured_ns"], row["arrived_ns"]) for row in rows if row["seq"]] == [
        ("10", "12"),
        ("40", "42"),
        ("50", "52"),
    ]
    assert [row["note"] for row in rows] == ["", "", "", "odd, very", "odd; repaired"]
    assert not (tmp_path / "packets.csv").exists()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([FrameState.DELIVERED, FrameState.LOST_QUEUE, FrameState.ENCODER_ERROR]), max_size=60),
    st.integers(0, 60),
)
def test_merging_says_what_the_packets_say_and_leaves_the_rest(tmp_path_factory, states, encoded) -> None:
    folder = tmp_path_factory.mktemp("tables")
    write(folder, states, encoded)
    merge_frame_tables(folder)
    places = count()
    for row, state in zip(rows_of(folder), states, strict=True):
        place = next(places) if state is FrameState.DELIVERED else encoded
        there = state is FrameState.DELIVERED and place < encoded
        assert row["state"] == ("recorded" if there else state.value)
        assert (row["video_frame"], row["crc32"]) == ((str(place), f"{int(row['seq']):08x}") if there else ("", ""))


def test_merging_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    write(tmp_path, [FrameState.DELIVERED] * 9, 7)
    before = (tmp_path / "frames.csv").read_bytes()

    def kill(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_frame_tables(tmp_path, kill)
    assert (tmp_path / "frames.csv").read_bytes() == before
    packets = (tmp_path / "packets.csv").read_bytes()
    merge_frame_tables(tmp_path)
    (tmp_path / "packets.csv").write_bytes(packets)  # killed before they were removed
    merged = (tmp_path / "frames.csv").read_bytes()
    assert merged != before
    merge_frame_tables(tmp_path)
    assert (tmp_path / "frames.csv").read_bytes() == merged
    assert not (tmp_path / "packets.csv").exists()


def test_rows_are_on_their_way_to_the_disk_at_once(tmp_path: Path) -> None:
    table = FrameTable(tmp_path)
    table.delivered(stamped(0, 10), FrameState.DELIVERED)
    assert len(whole_lines(tmp_path / "frames.csv").splitlines()) == 2
    table.close()


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_bytes(b"a,b\n1,2\n3,")
    assert whole_lines(tmp_path / "frames.csv") == b"a,b\n1,2\n"
