"""What all engines that compile for shapes do alike, by one that computes nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from posestream.inference.engine import Engine, Shape
from posestream.inference.engines.prepared import PreparedEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle


class Recording(PreparedEngine):
    """Keeps what it is told to do."""

    name = "recording"

    def __init__(self, bundle: ModelBundle) -> None:
        super().__init__(bundle, "float32")
        self.compiled: list[tuple[Shape, int]] = []
        self.inferred: list[tuple[int, ...]] = []

    def _compile(self, shape: Shape, batch_size: int) -> None:
        self.compiled.append((shape, batch_size))

    def _infer(self, shape: Shape, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.inferred.append(frames.shape)
        return np.zeros((len(frames), len(self.bodyparts), 3), np.float32)


def test_each_size_is_compiled_and_warmed_up_once(bundle: ModelBundle) -> None:
    engine = Recording(bundle)
    assert isinstance(engine, Engine)
    engine.prepare(48, 64, "gray8", [4, 1, 4])
    assert engine.compiled == [((48, 64, "gray8"), 1), ((48, 64, "gray8"), 4)]
    assert engine.inferred == [(1, 48, 64, 1)] * 2 + [(4, 48, 64, 1)] * 2
    engine.prepare(48, 64, "gray8", [1])
    engine.prepare(48, 64, "rgb24", [1])
    assert engine.compiled[2:] == [((48, 64, "rgb24"), 1)]
    assert engine.inferred[4:] == [(1, 48, 64, 3)] * 2


def test_what_was_not_prepared_reaches_no_engine(bundle: ModelBundle) -> None:
    engine = Recording(bundle)
    engine.prepare(48, 64, "gray8", [2])
    engine.inferred.clear()
    assert engine.run(np.zeros((2, 48, 64, 1), np.uint8)).shape == (2, len(engine.bodyparts), 3)
    for shape in ((3, 48, 64, 1), (2, 64, 48, 1), (2, 48, 64, 3)):
        with pytest.raises(ModelError, match="not prepared"):
            engine.run(np.zeros(shape, np.uint8))
    assert engine.inferred == [(2, 48, 64, 1)]


def test_a_size_that_cannot_be_compiled_is_not_taken_for_prepared(bundle: ModelBundle) -> None:
    class Small(Recording):
        def _compile(self, shape: Shape, batch_size: int) -> None:
            if batch_size > 1:
                raise ModelError("too large")

    engine = Small(bundle)
    with pytest.raises(ModelError, match="too large"):
        engine.prepare(48, 64, "gray8", [1, 2])
    with pytest.raises(ModelError, match="not prepared"):
        engine.run(np.zeros((2, 48, 64, 1), np.uint8))
