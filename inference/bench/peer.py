"""DeepLabCut-Live beside us: in a process of its own, run by the Python of the environment that it is installed in."""

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError

__all__ = ["Peer"]

WORKER = Path(__file__).with_name("peer_worker.py")


class Peer:
    """DeepLabCut-Live with a model that DeepLabCut exported; a context manager that ends its process.

    Parameters
    ----------
    python
        The other environment's Python.
    model
        An exported folder, with `pose_cfg.yaml` and a `.pb`.

    Raises
    ------
    ModelError
        DeepLabCut-Live does not run there, or not with this model.
    """

    def __init__(self, python: Path, model: Path) -> None:
        folder = model if model.is_dir() else model.parent
        if not any(folder.glob("*.pb")):
            raise ModelError(
                f"DeepLabCut-Live needs a model that DeepLabCut exported, a folder with a .pb; {model} is none. Export "
                "it with deeplabcut.export_model, and name that folder as the model."
            )
        self._folder = tempfile.TemporaryDirectory(prefix="posestream-", ignore_cleanup_errors=True)
        try:
            self._process = subprocess.Popen(
                [str(python), "-I", str(WORKER), str(folder)],  # what our environment says is not for it
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            self._folder.cleanup()
            raise ModelError(f"{python} cannot be started: {error.strerror or error}. Name a Python.") from error
        try:
            self.version: str = self._answer()["version"]
        except ModelError as error:
            self.close()
            raise ModelError(
                f"DeepLabCut-Live does not run in the environment of {python} (`import dlclive` must): {error}"
            ) from error

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def run(self, frames: NDArray[np.uint8], seconds: float) -> tuple[list[float], NDArray[np.float32]]:
        """Infer frames one at a time, and again until the time is over.

        Parameters
        ----------
        frames
            uint8 BGR (N, H, W, 3).
        seconds
            How long.

        Returns
        -------
        tuple
            Seconds of each inference, and the poses of the first frames, float32 (n, K, 3).

        Raises
        ------
        ModelError
            It failed.
        """
        pictures, poses = (Path(self._folder.name) / name for name in ("frames.npy", "poses.npy"))
        np.save(pictures, frames)
        asked = {"frames": str(pictures), "seconds": seconds, "poses": str(poses)}
        try:
            assert self._process.stdin is not None  # noqa: S101 - for the type checker
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ModelError("DeepLabCut-Live's process has ended.") from error
        return self._answer()["seconds"], np.load(poses)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        line = self._process.stdout.readline()
        try:
            answer: dict[str, Any] = json.loads(line) if line else {"error": "it ended without a word."}
        except ValueError:
            answer = {"error": f"it said {line.strip()!r}."}
        if "error" in answer:
            raise ModelError(answer["error"])
        return answer
