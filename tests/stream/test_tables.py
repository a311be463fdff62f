"""Settings that travel are what the rig file's tables are checked by: one definition."""

import json
from pathlib import Path

import msgspec
import pytest

from posestream.stream.rig import Rig, RigError, parse_rig
from posestream.stream.run.rig_jobs import camera_job, inference_job
from posestream.stream.wire.jobs import CameraJob, InferenceJob
from posestream.stream.wire.settings import CropWindowSettings, MaskSettings, RegionSettings, ViewSettings

VIEW = {
    "regions": [{"width": 4, "height": 3}, {"x": 4, "width": 4, "height": 3, "flip": "both"}],
    "mask": {"polygons": [[[0, 0], [3.5, 0], [3.5, 2]]], "value": 7},
}
TABLES = {
    "cameras": {"top": {"backend": "file", "view": VIEW, "recording": {"crf": 18}, "cpus": [0, 1]}},
    "recording": {"queue_mib": 3, "container": "mkv"},
    "inference": {"model": "m", "precision": "int8", "queue_mib": 2, "window": {"sides": [128, 256], "margin_px": 32}},
}


@pytest.fixture
def rig() -> Rig:
    return parse_rig(TABLES, "here")


def test_tables_are_the_settings_that_travel(rig: Rig) -> None:
    assert rig.cameras["top"].view == ViewSettings(
        regions=(RegionSettings(width=4, height=3), RegionSettings(x=4, width=4, height=3, flip="both")),
        mask=MaskSettings(polygons=(((0, 0), (3.5, 0), (3.5, 2)),), value=7),
    )
    assert rig.inference is not None
    assert rig.inference.window == CropWindowSettings(sides=(128, 256), margin_px=32)


def test_jobs_carry_them_and_are_the_same_when_they_have_travelled(rig: Rig) -> None:
    camera = camera_job(rig, "top", Path("rigs"), "s", "there")
    inference = inference_job(rig, Path("rigs"), "s", ())
    assert camera.recording is not None
    assert (camera.recording.crf, camera.recording.container, camera.recording.queue_bytes) == (18, "mkv", 3 * 2**20)
    assert camera.cpus == (0, 1)
    assert (inference.precision, inference.queue_bytes) == ("int8", 2 * 2**20)
    for job in (camera, inference):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=CameraJob | InferenceJob) == job


def test_a_rig_that_was_written_down_is_read_again(rig: Rig) -> None:
    again = json.loads(json.dumps(rig.model_dump(exclude_none=True)))
    assert parse_rig(again, "there") == rig


@pytest.mark.parametrize(
    "wrong",
    [
        {"cameras": {"top": {"backend": "file", "recording": {"threads": 1.0}}}},
        {"recording": {"queue_bytes": 5}},
        {"inference": {"model": "m", "window": {"sides": ["128"]}}},
    ],
)
def test_tables_are_strict(wrong: dict) -> None:
    with pytest.raises(RigError):
        parse_rig(TABLES | wrong, "here")
