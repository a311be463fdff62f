import csv
from pathlib import Path

from posestream.acquisition.camera import Capture
from posestream.acquisition.frame_table import FrameTable
from posestream.acquisition.stamps import Stamped
from posestream.stream.wire.tables import FRAME_COLUMNS, FrameState, whole_lines


def stamped(seq: int, captured_ns: int, device_id: int | None = None, note: str = "", **capture) -> Stamped:
    return Stamped(
        seq=seq,
        capture=Capture(captured_ns=captured_ns + 2, **capture),
        device_id=device_id,
        captured_ns=captured_ns,
        wall_ns=1000,
        lost=range(0),
        id_note="",
        note=note,
    )


def test_a_row_for_every_frame_in_order(tmp_path: Path) -> None:
    table = FrameTable(tmp_path / "frames.csv")
    table.recorded(stamped(0, 10, 5, device_time=99), 0, "")
    table.lost_by_camera(range(6, 8))
    table.lost(stamped(1, 40, 8, "odd, very"), FrameState.LOST_QUEUE)
    table.recorded(stamped(2, 50, 9, "odd"), 40, "repaired")
    table.close()
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    assert tuple(rows[0]) == FRAME_COLUMNS
    assert [row["device_id"] for row in rows] == ["5", "6", "7", "8", "9"]
    assert [row["state"] for row in rows] == ["recorded", "lost-camera", "lost-camera", "lost-queue", "recorded"]
    assert [row["video_frame"] for row in rows] == ["0", "", "", "", "1"]
    assert [(row["captured_ns"], row["arrived_ns"]) for row in rows if row["seq"]] == [
        ("10", "12"),
        ("40", "42"),
        ("50", "52"),
    ]
    assert [row["note"] for row in rows] == ["", "", "", "odd, very", "odd; repaired"]
    assert table.states[FrameState.RECORDED] == 2


def test_rows_are_on_their_way_to_the_disk_at_once(tmp_path: Path) -> None:
    table = FrameTable(tmp_path / "frames.csv")
    table.recorded(stamped(0, 10), 0, "")
    assert len(whole_lines(tmp_path / "frames.csv").splitlines()) == 2
    table.close()


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_bytes(b"a,b\n1,2\n3,")
    assert whole_lines(tmp_path / "frames.csv") == b"a,b\n1,2\n"
