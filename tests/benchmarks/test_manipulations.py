"""What can be done to a closed session is noticed: a short form of `benchmarks/manipulations.py`."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)
ALWAYS = (
    "video: all frames black",
    "video: frames in reverse order",
    "video: two frames swapped",
    "video: the same frames at lower quality",
    "video: one packet replaced by the next",
    "video: a link to another session's",
    "tables: all times and the anchors moved by an hour",
    "tables: inferred_ns of 5",
    "tables: one skipped run counts 1000",
    "tables: two poses exchanged everywhere",
    "session.json: a camera removed",
    "session.json: a camera called remote",
    "summary.json deleted",
    "events.jsonl deleted",
    "events.jsonl: one line gone",
    "a file added",
)
"""Manipulations that are tried in each run; of the others every third, as there are many."""


def test_manipulations_are_noticed_and_harmless_changes_are_not_held_against_a_session(program, tmp_path) -> None:
    benchmark = program("manipulations")
    small: dict[str, Any] = {"size": (320, 240), "rate": 40.0}  # so fast that some frames are skipped
    session = benchmark.record(tmp_path, "session", seconds=1.5, **small)
    other = benchmark.record(tmp_path, "another", seed=10, seconds=0.5, backfill=False, **small)
    known = {made.name for made in benchmark.manipulations(session, other)}
    assert set(ALWAYS) <= known
    assert len(known) > 100

    def chosen(made):
        few = [one for one in made if one.name not in ALWAYS and not one.harmless][::3]
        return [one for one in made if one.name in ALWAYS or one.harmless or one in few]

    rows = benchmark.try_all(session, other, Path(tmp_path) / "copy", chosen)
    assert [row for row in rows if not row["good"]] == []
    assert len(rows) > 66
