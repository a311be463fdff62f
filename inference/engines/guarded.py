"""Holds an engine, which may be a plug-in, to its protocol: what it gives is looked at before anybody uses it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine, Precision
from posestream.inference.errors import ModelError
from posestream.stream.wire.messages import PixelFormat
from posestream.stream.wire.plugins import HANG_S, Guard, PluginError

__all__ = ["GuardedEngine", "engine_guard", "sound_poses"]

SLOWER = 5
"""How many times as long as its slowest call so far, warming up included, a call of an engine may take."""
TOLERANCE = 1e-3
"""How far a likelihood may lie outside 0 to 1 by rounding."""


def engine_guard(name: str) -> Guard:
    """Make the guard of an engine; it lets pass what engines may raise."""
    return Guard(f'engine "{name}"', (ModelError,))


def sound_poses(poses: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which poses (B, K, 3) are finite, with likelihoods from 0 to 1."""
    likelihood = poses[..., 2]
    within = (likelihood >= -TOLERANCE) & (likelihood <= 1 + TOLERANCE)
    return np.asarray(np.isfinite(poses).all(axis=(1, 2)) & within.all(axis=1))


class GuardedEngine:
    """An engine whose faults have its name: see `posestream.inference.engine.Engine`.

    Parameters
    ----------
    engine
        The engine.
    bodyparts
        The model's K body parts.
    guard
        Through which it is called.
    """

    def __init__(self, engine: Engine, bodyparts: tuple[str, ...], guard: Guard) -> None:
        self._engine, self.bodyparts, self.guard = engine, bodyparts, guard

    @property
    def name(self) -> str:
        """As the engine's."""
        return self._engine.name

    @property
    def precision(self) -> Precision:
        """As the engine's."""
        return self._engine.precision

    @property
    def reason(self) -> str:
        """As the engine's."""
        return self._engine.reason

    @property
    def device(self) -> str:
        """What the engine runs on, for people, where it says so."""
        return str(getattr(self._engine, "device", ""))

    @property
    def remark(self) -> str:
        """One line for people: what it runs on, and why it is this engine in this precision."""
        return "; ".join(part for part in (f"runs on {self.device}" if self.device else "", self.reason) if part)

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """As the engine's; raises `PluginError` where it raises what it must not."""
        self.guard.call("prepare", self._engine.prepare, height, width, pixel_format, batch_sizes)

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """As the engine's; raises `PluginError` where it raises what it must not, or gives something else.

        What is not finite passes: see `sound_poses`.
        """
        poses = self.guard.call("run", self._engine.run, frames, pixel_format)
        expected = (len(frames), len(self.bodyparts), 3)
        if not isinstance(poses, np.ndarray) or poses.shape != expected or poses.dtype != np.float32:
            given = f"{poses.dtype} {poses.shape}" if isinstance(poses, np.ndarray) else f"a {type(poses).__name__}"
            raise PluginError(f"{self.guard.name} gave {given} in run, not float32 {expected}")
        return poses

    def hang(self) -> str:
        """Say that a call does not return, where one has taken longer than it can; ask a few times a second."""
        what, seconds = self.guard.watch()
        if not what or seconds < max(HANG_S, SLOWER * self.guard.longest_s):
            return ""
        return f"{self.guard.name} has not returned from {what} for {seconds:.0f} s"
