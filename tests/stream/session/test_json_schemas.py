"""The schemas of a session's records: those in the package are the structs', and what is really written is valid."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import pytest

from posestream.inference.formats.bundle import ModelSource, ModelSpec
from posestream.inference.live.batcher import Cause
from posestream.stream.disk.notes import Note
from posestream.stream.disk.tables import FRAME_COLUMNS, POSE_COLUMNS, SKIPPED_COLUMNS, FrameState, PoseState, SkipCause
from posestream.stream.session.json_schemas import RECORDS, SCHEMAS, field_docs, schema_text, structs_in
from posestream.stream.session.recover import recover_session
from posestream.stream.session.verify import verify_session
from posestream.stream.wire.details import ModelDetails, SourceDetails

from ...support.runs import ARENA

PAGE = Path(__file__).parents[3] / "docs" / "session-folder.md"


def schema(name: str) -> jsonschema.Draft202012Validator:
    loaded = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(loaded)
    return jsonschema.Draft202012Validator(loaded)


def check(session: Path) -> None:
    for name in ("session", "summary", "manifest"):
        schema(name).validate(json.loads((session / f"{name}.json").read_text()))
    for line in (session / "events.jsonl").read_text().splitlines():
        schema("event").validate(json.loads(line))


@pytest.mark.parametrize("name", list(RECORDS))
def test_the_shipped_schema_is_that_of_the_struct(name: str) -> None:
    shipped = (SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(RECORDS[name]), "run: python -m posestream.stream.session.json_schemas"


def test_nothing_else_is_shipped() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == sorted(f"{name}.schema.json" for name in RECORDS)


def test_a_run_a_backfill_and_a_recovery_write_what_the_schemas_say(
    posestream: Callable, rig: Callable, random_model: Path, tmp_path: Path
) -> None:
    run = posestream("run", rig(f'{ARENA}[inference]\nmodel = "{random_model}"\n'), "--seconds", 3, "--json")
    session = Path(run.summary(0)["folder"])
    check(session)
    cut = Path(shutil.copytree(session, tmp_path / "cut"))
    lines = (session / "top" / "poses.csv").read_text().splitlines(keepends=True)
    (session / "top" / "poses.csv").write_text("".join(lines[:-5]))
    _, _, err = posestream("backfill", session).end()
    assert "Traceback" not in err
    check(session)
    assert json.loads((session / "summary.json").read_text())["backfill"]["state"] == "complete"
    record = json.loads((cut / "session.json").read_text()) | {"state": "recording"}
    (cut / "session.json").write_text(json.dumps(record))
    for name in ("summary.json", "manifest.json"):
        (cut / name).unlink()
    assert recover_session(cut)
    check(cut)
    assert json.loads((cut / "session.json").read_text())["state"] == "recovered"
    assert verify_session(cut)["problems"] == []


def test_what_no_run_writes_is_not_valid() -> None:
    for name, wrong in (
        ("session", {"format": 2}),
        ("summary", {"problems": 5}),
        ("summary", {"cameras": {"top": {"counters": {"captured": -1}}}}),
        ("manifest", {"format": 1, "files": {"top/video.mp4": {"bytes": 1}}}),
    ):
        assert list(schema(name).iter_errors(wrong))


def test_the_page_names_every_key_column_code_and_note() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for record in RECORDS.values():
        for struct in structs_in(record).values():
            _, _, section = page.partition(f"\n### {struct.__name__}\n")
            section, _, _ = section.partition("\n### ")
            for key, text in field_docs(struct).items():
                (row,) = [line for line in section.splitlines() if line.startswith(f"| `{key}` |")]
                assert text.replace("|", "/") in row, (struct.__name__, key)
    for text in (*FRAME_COLUMNS, *POSE_COLUMNS, *SKIPPED_COLUMNS, *FrameState, *PoseState, *SkipCause):
        assert f"`{text}`" in page, text
    for note in Note:
        assert f"| `{note.name}` | {note.value.partition('{')[0].strip()}" in page, note


def test_the_record_of_a_network_has_all_that_its_bundle_has() -> None:
    for here, there in ((ModelDetails, ModelSpec), (SourceDetails, ModelSource)):
        kept, whole = ({field.name for field in msgspec.structs.fields(kind)} for kind in (here, there))
        assert kept == whole


def test_every_cause_of_inference_is_one_of_the_table() -> None:
    assert set(get_args(Cause)) < set(SkipCause)
