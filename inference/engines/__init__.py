"""Open an engine by name, or the one that suits this machine.

Engines are classes that the entry point group `posestream.engines` names, so a laboratory adds its own without a fork:
see `EngineClass`.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import distributions, entry_points
from pathlib import Path
from typing import Protocol

from posestream.inference.engine import Engine, Precision
from posestream.inference.engines.choice import Candidate, ChosenEngine
from posestream.inference.engines.guarded import GuardedEngine, engine_guard
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.stream.wire.plugins import Guard

__all__ = ["ENTRY_POINTS", "EngineClass", "engine_class", "engine_names", "open_engine"]

ENTRY_POINTS = "posestream.engines"
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""What the drivers of GPUs leave on Linux: NVIDIA's, the one of Windows's own Linux, AMD's."""


class EngineClass(Protocol):
    """What an entry point of the group leads to.

    The engine that it makes is held to `posestream.inference.engine.Engine`. `ModelError` is the one error that it may
    raise; any other, even SystemExit, poses of another shape or type, and a call that does not return (10 s, or five
    times the longest so far, warming up included) end the run, with the engine's name. Poses that are not finite, or
    whose likelihood is not within 0 to 1, are neither published nor stored: a body part that is not seen gets a
    likelihood near 0, not NaN. It may have a text `device`, for people: what it runs on.
    """

    def __call__(self, bundle: ModelBundle, precision: Precision, threads: int | None) -> Engine:
        """Make the engine; raises `ModelError` where it can't run this model in this precision here, and says why."""

    def candidates(self, bundle: ModelBundle) -> Sequence[Precision]:
        """Give the precisions worth a timing here, the likeliest first, the reference last; raises `ModelError`."""


def engine_names() -> list[str]:
    """Names of the installed engines, sorted."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINTS)})


def engine_class(name: str) -> EngineClass:
    """Load an engine's class.

    Raises
    ------
    ModelError
        There is no such engine, or it can't be imported.
    """
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise ModelError(f'There is no engine "{name}"; installed are auto, {", ".join(sorted(found))}.')
    try:
        loaded: EngineClass = found[name].load()
    except (Exception, SystemExit) as error:
        raise ModelError(f'The engine "{name}" cannot be used here: {error or type(error).__name__}.') from error
    return loaded


def open_engine(
    bundle: ModelBundle, engine: str = "auto", precision: Precision | str = "auto", threads: int | None = None
) -> GuardedEngine:
    """Open an engine for a model.

    Parameters
    ----------
    bundle
        The model.
    engine
        Name of an engine. `auto`: TensorFlow where it sees a GPU; else ONNX Runtime or OpenVINO, whichever is faster,
        where a package of ONNX Runtime for GPUs is installed; else OpenVINO; and TensorFlow where these can't run it.
    precision
        `auto`: bfloat16 where the processor or the GPU has it and it is faster on the frames that are prepared first,
        else float32. Which one it is shows once they were prepared.
    threads
        Cores to use; the engine decides where not given.

    Returns
    -------
    GuardedEngine
        It says in `reason` why it was chosen.

    Raises
    ------
    ModelError
        No engine, or not the one that was asked for, can run the model so; the text says why, and what can.
    PluginError
        The engine's class raised what it must not.
    """
    if engine != "auto":
        return _open(bundle, [engine], precision, threads, why="")
    choices, why = _suited()
    refused: list[str] = []
    for names in choices:
        try:
            return _open(bundle, names, precision, threads, why=refused[0] if refused else why)
        except ModelError as error:
            refused.append(f"{names[-1]} cannot run it: {error}")
    raise ModelError(" ".join(refused))


def _open(
    bundle: ModelBundle, names: Sequence[str], precision: Precision | str, threads: int | None, why: str
) -> GuardedEngine:
    """Open the fastest of some engines; the last one of them must be able to run the model."""
    guards = {name: engine_guard(name) for name in names}
    made: dict[str, EngineClass] = {}
    candidates: list[Candidate] = []
    for name in names:
        try:
            made[name] = engine_class(name)
            candidates += _candidates(bundle, name, made[name], precision, guards[name])
        except ModelError:
            if name == names[-1]:
                raise

    def make(candidate: Candidate) -> Engine:
        engine: Engine = guards[candidate.engine].call(
            "__init__", made[candidate.engine], bundle, candidate.precision, threads
        )
        return engine

    guard = guards[names[-1]] if len(names) == 1 else engine_guard("auto")
    if not why and precision != "auto":
        return GuardedEngine(make(candidates[-1]), bundle.spec.bodyparts, guard)
    return GuardedEngine(ChosenEngine(bundle, make, candidates, threads, why), bundle.spec.bodyparts, guard)


def _candidates(
    bundle: ModelBundle, name: str, made: EngineClass, precision: Precision | str, guard: Guard
) -> list[Candidate]:
    if precision != "auto":
        return [Candidate(name, _precision(precision))]
    return [Candidate(name, each) for each in guard.call("candidates", made.candidates, bundle)]


def _suited() -> tuple[list[list[str]], str]:
    """Names of our engines, what suits this machine first, and why; those together are timed against each other."""
    if gpus := _gpus():
        return [["tensorflow"], ["openvino"]], f"TensorFlow sees the GPU {gpus[0]}"
    if _onnxruntime_on_gpu():
        return [["onnxruntime", "openvino"], ["tensorflow"]], "ONNX Runtime has a GPU's provider"
    return [["openvino"], ["tensorflow"]], "TensorFlow sees no GPU"


def _onnxruntime_on_gpu() -> bool:
    """Say whether a package of ONNX Runtime is installed that may reach a GPU; only then is it worth its import."""
    packages = {"onnxruntime-gpu", "onnxruntime-directml"} | ({"onnxruntime"} if sys.platform == "darwin" else set())
    return any(found.name.lower().replace("_", "-") in packages for found in distributions())


def _gpus() -> tuple[str, ...]:
    """GPUs that TensorFlow computes on. It takes seconds to import, and is not asked where there can be none."""
    if sys.platform == "darwin":
        possible = any(found.name == "tensorflow-metal" for found in distributions())
    else:
        possible = any(Path(driver).exists() for driver in GPU_DRIVERS)
    if not possible:
        return ()
    from posestream.inference.engines.tensorflow_engine import tensorflow_gpus

    try:
        return tensorflow_gpus()
    except ModelError:
        return ()


def _precision(word: str) -> Precision:
    match word:
        case "float32" | "bfloat16" | "float16" | "int8":
            return word
    raise ModelError(f"There is no precision {word}; there are auto, float32, bfloat16, float16 and int8.")
