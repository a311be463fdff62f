"""Engines by name, and how one is chosen."""

import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from posestream.inference.engine import Engine, Precision
from posestream.inference.engines import engine_names, open_engine
from posestream.inference.engines.choice import Candidate, ChosenEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.cache import cache_folder


class Paced:
    """An engine that takes a set time for a frame, so that a choice is known beforehand, on a busy machine, too."""

    seconds: ClassVar[dict[Precision, float]] = {"bfloat16": 0.0, "float32": 0.25}
    name, reason = "paced", ""
    runs = 0

    def __init__(self, bundle: ModelBundle, precision: Precision, threads: int | None) -> None:
        if precision not in self.seconds:
            raise ModelError(f"no {precision} here")
        self.precision, self.bodyparts = precision, bundle.spec.bodyparts

    @classmethod
    def candidates(cls, _: ModelBundle) -> tuple[Precision, ...]:
        return tuple(cls.seconds)

    def prepare(self, *shape) -> None: ...

    def run(self, frames, pixel_format=None) -> np.ndarray:
        type(self).runs += 1
        time.sleep(self.seconds[self.precision])
        return np.zeros((len(frames), len(self.bodyparts), 3), np.float32)


@pytest.fixture
def paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Paced]:
    """The engine above, installed as a plugin, with nothing remembered about it."""
    plugin = tmp_path / "paced-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: paced\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[posestream.engines]\npaced = paced_plugin:Paced\n")
    module = type(sys)("paced_plugin")
    kind = type("Paced", (Paced,), {"seconds": dict(Paced.seconds)})
    module.__dict__["Paced"] = kind
    monkeypatch.setitem(sys.modules, "paced_plugin", module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    return kind


def test_the_fastest_precision_is_timed_once_and_remembered(bundle, paced, caplog) -> None:
    caplog.set_level("INFO")
    engine = open_engine(bundle, "paced")
    assert isinstance(engine, Engine)
    engine.prepare(48, 64, "gray8", [1, 4])
    assert engine.precision == "bfloat16"
    assert "times as fast as float32 at 64x48" in engine.reason
    assert engine.reason in caplog.text
    assert engine.run(np.zeros((4, 48, 64, 1), np.uint8)).shape == (4, 3, 3)
    timed = paced.runs
    again = open_engine(bundle, "paced")
    again.prepare(48, 64, "gray8", [1, 4])
    assert (again.precision, again.reason, paced.runs) == ("bfloat16", engine.reason, timed)
    open_engine(bundle, "paced").prepare(64, 64, "gray8", [1])
    assert paced.runs > timed


def test_what_is_not_faster_is_not_taken(bundle, paced) -> None:
    paced.seconds |= {"bfloat16": 0.02, "float32": 0.01}
    engine = open_engine(bundle, "paced")
    engine.prepare(48, 64, "gray8", [1])
    assert engine.precision == "float32"


def test_what_a_busy_machine_chose_is_timed_again(bundle, paced, caplog) -> None:
    caplog.set_level("INFO")
    waits = itertools.cycle([0.02, 0.4, 0.02])

    def disturbed(self, frames, pixel_format=None) -> np.ndarray:
        type(self).runs += 1
        time.sleep(next(waits) if self.precision == "bfloat16" else 0.2)
        return np.zeros((len(frames), len(self.bodyparts), 3), np.float32)

    paced.run = disturbed
    for start in (1, 2):
        engine = open_engine(bundle, "paced")
        engine.prepare(48, 64, "gray8", [1])
        assert engine.precision == "bfloat16"
        assert caplog.text.count("timed again at the next start") == start
    assert not list(cache_folder("engines").glob("*"))


class Broken(Paced):
    name = "broken"

    def prepare(self, *shape) -> None:
        raise ModelError("no GPU after all")


def test_an_engine_that_fails_to_prepare_is_left_out(bundle, monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path))
    engines = {"broken": Broken, "paced": Paced}
    made = [Candidate("broken", "bfloat16"), Candidate("broken", "float32")]

    def make(candidate: Candidate) -> Engine:
        return engines[candidate.engine](bundle, candidate.precision, None)

    several = ChosenEngine(
        bundle, make, [*made, Candidate("paced", "bfloat16"), Candidate("paced", "float32")], None, ""
    )
    several.prepare(48, 64, "gray8", [1])
    assert (several.name, several.precision) == ("paced", "bfloat16")
    assert "paced in bfloat16 is" in several.reason
    assert "times as fast as paced in float32" in several.reason
    assert "broken in float32 is left out: no GPU after all" in caplog.text
    with pytest.raises(ModelError, match="no GPU after all"):
        ChosenEngine(bundle, make, made, None, "").prepare(48, 64, "gray8", [1])


def test_a_damaged_memory_is_made_anew(bundle, paced) -> None:
    open_engine(bundle, "paced").prepare(48, 64, "gray8", [1])
    (file,) = cache_folder("engines").iterdir()
    file.write_bytes(b"{")
    engine = open_engine(bundle, "paced")
    engine.prepare(48, 64, "gray8", [1])
    assert engine.precision == "bfloat16"
    assert len(file.read_bytes()) > 1


def test_what_was_asked_for_is_taken(bundle, paced) -> None:
    engine = open_engine(bundle, "paced", "float32", threads=1)
    assert (engine.precision, engine.reason) == ("float32", "")


def test_auto_here(bundle: ModelBundle) -> None:
    engine = open_engine(bundle)
    engine.prepare(48, 64, "gray8", [1])
    assert engine.name in {"openvino", "tensorflow"}
    assert "GPU" in engine.reason


def test_a_frozen_graph_goes_to_tensorflow(bundle: ModelBundle) -> None:
    engine = open_engine(replace(bundle, graph=b"graph"))
    assert (engine.name, engine.precision) == ("tensorflow", "float32")
    assert "runs as the graph that DeepLabCut exported" in engine.reason


def test_what_cannot_be_had_is_said(bundle: ModelBundle, paced) -> None:
    assert {"onnxruntime", "openvino", "tensorflow", "paced"} <= set(engine_names())
    for asked, message in [
        (("nosuch", "auto"), "installed are auto, onnxruntime, openvino, paced, tensorflow"),
        (("openvino", "float64"), "no precision float64"),
        (("tensorflow", "int8"), "engine openvino"),
        (("paced", "int8"), "no int8 here"),
        (("auto", "int8"), "model optimize"),
        (("openvino", "int8"), "model optimize .* --precision int8 --calibrate VIDEO"),
    ]:
        with pytest.raises(ModelError, match=message):
            open_engine(bundle, *asked)
