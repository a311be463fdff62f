"""Whole runs with a GigE Vision camera that loses packets."""

import csv
from pathlib import Path

import pytest

from posestream.stream.session.verify import verify_session

from ..acquisition.aravis_emulator import FIRST_ID, emulator, own_serial
from ..conftest import REPOSITORY

pytestmark = pytest.mark.timeout(180)


def test_each_frame_that_lost_packets_is_a_row_and_the_ids_go_on_across_the_wrap(posestream) -> None:
    serial = own_serial("RUN")
    changes = {"serial": f'"{serial}"', "width": "160", "height": "120", "rate_hz": "150.0"}
    options = [part for key, value in changes.items() for part in ("--set", f"cameras.top.{key}={value}")]
    rig = REPOSITORY / "examples" / "aravis.toml"
    with emulator(serial, lost_per_thousand=5):
        run = posestream("run", rig, *options, "--seconds", 6, "--json")
        summary = run.summary(1)  # frames were lost
    folder = Path(summary["folder"])
    assert verify_session(folder)["problems"] == []
    rows = list(csv.DictReader((folder / "top" / "frames.csv").read_text().splitlines()))
    ids = [int(row["device_id"]) for row in rows]
    states = [row["state"] for row in rows]
    assert FIRST_ID <= ids[0] < 65_535 < ids[-1]
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert set(states) == {"recorded", "lost-camera"}
    assert states.count("lost-camera") == summary["cameras"]["top"]["frames"]["lost-camera"] > 10
