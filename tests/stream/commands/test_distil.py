"""A whole distillation in little: a few frames of the arena, a few steps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from posestream.acquisition.arena import Arena
from posestream.inference.distilling.finishing import can_quantise, refuse_far
from posestream.inference.distilling.report import PICTURE, REPORT, WORDS, Report, words
from posestream.inference.distilling.teacher import Teacher
from posestream.inference.engine import Precision
from posestream.inference.engines import open_engine
from posestream.inference.errors import ModelError
from posestream.inference.formats.models import load_model
from posestream.inference.training.labels import Labels, labels_for
from posestream.stream.commands.distil import Screen, Settings, distil_network, fitting_arena
from posestream.stream.commands.train import arena_frames

from ...support.videos import encode_video, write_video

SIZE = (120, 160)
TEACHER = Path("openfield-mouse")
SETTINGS = Settings(steps=2, frames=4, arena=0, accept=1e6)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arena = Arena(width=SIZE[1], height=SIZE[0], seed=1)

    def draw() -> np.ndarray:
        arena.advance()
        pixels = np.empty(SIZE, np.uint8)
        arena.render(pixels)
        return np.repeat(pixels[..., None], 3, axis=-1)

    return encode_video(tmp_path_factory.mktemp("videos") / "arena.mp4", (draw() for _ in range(66)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Labels of two of the teacher's body parts."""
    folder = tmp_path / "mouse" / "labeled-data" / "m1"
    folder.mkdir(parents=True)
    (tmp_path / "mouse" / "config.yaml").write_text("Task: mouse\nbodyparts: [tailbase, snout]\n")
    lines = ["scorer,me,me,me,me", "bodyparts,tailbase,tailbase,snout,snout", "coords,x,y,x,y"]
    for number in range(3):
        cv2.imwrite(str(folder / f"img{number}.png"), np.full((64, 96, 3), 40 * number, np.uint8))
        lines.append(f"labeled-data/m1/img{number}.png,20,30,40,50")
    (folder / "CollectedData_me.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "mouse"


class Stopping:
    """Presses Ctrl-C when so much of something is done."""

    def __init__(self, name: str, done: int) -> None:
        self.name, self.done = name, done
        self.told: list[str] = []

    @property
    def screen(self) -> Screen:
        return Screen(self.told.append, self._show)

    def _show(self, values) -> None:
        if self.name in values and values[self.name].done == self.done:
            raise KeyboardInterrupt


@pytest.mark.timeout(300)
def test_stopped_twice_and_resumed_it_ends_with_a_bundle_and_a_report(tmp_path, clip, project) -> None:
    output = tmp_path / "fast"
    first, second, third = Stopping("arena.mp4", 3), Stopping("learning", 0), Stopping("", 0)
    settings = replace(SETTINGS, labels=project)
    with pytest.raises(KeyboardInterrupt):
        distil_network(TEACHER, [clip], output, settings, first.screen)
    answers = tmp_path / "fast.distilling" / "0.answers"
    before = answers.read_bytes()
    assert before.count(b"\n") == 3
    with pytest.raises(ModelError, match="--resume"):
        distil_network(TEACHER, [clip], output, settings)
    resumed = replace(settings, resume=True)
    with pytest.raises(KeyboardInterrupt):
        distil_network(TEACHER, [clip], output, resumed, second.screen)
    assert answers.read_bytes().startswith(before)
    assert not output.exists()
    report = distil_network(TEACHER, [clip], output, resumed, third.screen)
    assert not any("asking" in text for text in third.told)

    assert not answers.parent.exists()
    assert msgspec.json.decode((output / REPORT).read_bytes(), type=Report) == report
    assert report.teacher.sha256 == load_model(TEACHER).digest()
    (video,) = report.videos
    assert (video.name, video.frames, video.learnt, video.apart) == ("arena.mp4", 66, 4, 22)
    assert report.labelled == 2
    precisions = ["float32", "int8"] if can_quantise() else ["float32"]
    assert list(report.distance) == precisions
    assert [errors.labels for errors in report.errors["teacher"]] == [2, 2, 2]
    assert list(report.errors) == ["teacher", *precisions]
    assert {(speed.network, speed.precision) for speed in report.speeds} >= {
        ("teacher", "float32"),
        *(("student", precision) for precision in precisions),
    }
    assert (output / WORDS).read_text().splitlines() == words(report)
    picture: Any = cv2.imread(str(output / PICTURE))
    assert picture.shape == (5 * 360, 2 * 480, 3)
    assert ((picture[..., 1].astype(int) - picture[..., 2]) > 60).any()  # rings of the teacher

    student = open_engine(load_model(output), "openvino", precisions[-1])
    student.prepare(*SIZE, "gray8", [1])
    assert student.run(np.zeros((1, *SIZE, 1), np.uint8)).shape == (1, 4, 3)
    with pytest.raises(ModelError, match="exists already"):
        distil_network(TEACHER, [clip], output, settings)


def test_a_far_student_is_refused_with_how_far(tmp_path) -> None:
    spec = load_model(TEACHER).spec
    found = {"frames": 9, "places": 36, "median_px": 9.4, "p95_px": 20.0, "max_px": 30.0, "within": {}}
    report = msgspec.convert(
        {
            "teacher": {"name": "big", "net_type": "resnet_50", "sha256": ""},
            "student": msgspec.to_builtins(spec),
            "videos": [],
            "labels": "",
            "labelled": 0,
            "arena": 0,
            "mirrored": True,
            "plan": {},
            "errors": {},
            "distance": {"float32": found},
            "speeds": [],
            "size": "640x480",
        },
        Report,
    )
    refuse_far(report, 1000.0, None, tmp_path)
    refuse_far(report, 800.0, 9.5, tmp_path)
    with pytest.raises(ModelError, match=r"ends 9\.4 px .* more than 8\.0 px.*--hours"):
        refuse_far(report, 800.0, None, tmp_path)


def test_another_animal_is_refused(tmp_path) -> None:
    noise = write_video(tmp_path / "noise.mp4", 90)
    with pytest.raises(ModelError, match=r"openfield-mouse is unsure of (9.|100)% of"):
        distil_network(TEACHER, [noise], tmp_path / "fast", Settings(steps=4, frames=30))
    with pytest.raises(ModelError, match="differs in: frames"):
        distil_network(TEACHER, [noise], tmp_path / "fast", Settings(steps=4, frames=31, resume=True))


class Knowing:
    """An engine that knows the first frames of the arena, and answers with their places, or beside them by so much."""

    name, reason = "knowing", ""
    precision: Precision = "float32"
    bodyparts = ("snout", "tailbase")

    def __init__(self, beside_px: float) -> None:
        frames = arena_frames(8, self.bodyparts, first_seed=0)
        self._places = {frame.read().tobytes(): frame.keypoints + beside_px for frame in frames}

    def prepare(self, height, width, pixel_format, batch_sizes) -> None:
        pass

    def run(self, frames, pixel_format=None):
        return np.array([[(x, y, 0.9) for x, y in self._places[frame.tobytes()]] for frame in frames], np.float32)


def test_the_arena_is_mixed_in_where_the_teacher_knows_its_mouse() -> None:
    settings = Settings(arena=3)
    knowing = Teacher(Knowing(5.0))
    assert len(fitting_arena(knowing, Knowing.bodyparts, settings)) == 3
    assert fitting_arena(Teacher(Knowing(50.0)), Knowing.bodyparts, settings) == []
    assert fitting_arena(knowing, ("snout", "wing"), settings) == []
    assert fitting_arena(knowing, Knowing.bodyparts, Settings(arena=0)) == []


def test_labels_of_other_body_parts_are_refused() -> None:
    with pytest.raises(ModelError, match="The labels have wing, but big finds snout, tail"):
        labels_for(("snout", "tail"), Labels(("tail", "wing"), []), "big")


def test_videos_follow_the_option_as_a_shell_gives_them(posestream, tmp_path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, 5)
    given = ("--videos", tmp_path / "one.mp4", tmp_path / "two.mp4")
    status, _, err = posestream("distil", TEACHER, *given, "--output", "fast", "--json").end()
    assert status == 2
    assert "one.mp4 has 5 frames" in err
    asked = json.loads((tmp_path / "fast.distilling" / "asked.json").read_text())
    assert [Path(path).name for path in asked["videos"]] == ["one.mp4", "two.mp4"]
