"""The network that a training starts from: a trained one with heads for the labels' body parts, or a new student."""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle, ModelSource, ModelSpec, expected_tensors

__all__ = ["StudentSize", "start_bundle", "student_bundle"]

StudentSize = Literal["small", "medium"]

RARE = -4.0
"""Bias of a new body part: at first every cell says that it is not there, as nearly all should."""
NEW_KERNEL_DEVIATION = 0.005
GREY_MEAN, GREY_DEVIATION = 128.0, 64.0
"""Of pictures, about; batch norm does the rest."""


def start_bundle(
    known: ModelBundle, bodyparts: Sequence[str], *, name: str, skeleton: Sequence[tuple[str, str]] = (), seed: int = 0
) -> ModelBundle:
    """Give a trained network heads for these body parts.

    A body part that it knows by the same name keeps its part of the heads; the others begin anew.

    Parameters
    ----------
    known
        The trained network.
    bodyparts
        Names, in the order of the heads' channels.
    name
        Of the new network.
    skeleton
        Pairs of body parts to draw a line between.
    seed
        Of the new parts of the heads.

    Raises
    ------
    ModelError
        The network is a frozen graph, which cannot be trained, or the names are none of a model.
    """
    old = known.spec
    if known.graph:
        raise ModelError(f"{old.name} is a frozen graph, which cannot be trained. Start from another.")
    description = msgspec.to_builtins(old) | {
        "name": name,
        "bodyparts": tuple(bodyparts),
        "skeleton": tuple(skeleton),
        "location_refinement": True,
        "apply_sigmoid": True,
        "clip_scores": False,
        "scorer": f"posestream_{old.net_type.replace('_', '')}_{name}",
        "source": msgspec.to_builtins(ModelSource(kind="posestream-train", snapshot=old.name)),
    }
    try:
        spec = msgspec.convert(description, ModelSpec)
    except msgspec.ValidationError as error:
        raise ModelError(f"The project's body parts are none of a model: {error}.") from error
    same = old.apply_sigmoid and old.location_refinement  # else its heads mean something else
    rng = np.random.default_rng([seed, 3])
    channels = known.weights["part_pred/kernel"].shape[3]
    weights = {key: array for key, array in known.weights.items() if "_pred/" not in key}
    for head, each, bias in (("part_pred", 1, RARE), ("locref_pred", 2, 0.0)):
        shape = (3, 3, each * len(bodyparts), channels)
        kernel = rng.normal(0, NEW_KERNEL_DEVIATION, shape).astype(np.float32)
        biases: NDArray[np.float32] = np.full(shape[2], bias, np.float32)
        for number, part in enumerate(bodyparts):
            if same and part in old.bodyparts:
                source, target = old.bodyparts.index(part), slice(each * number, each * (number + 1))
                origin = slice(each * source, each * (source + 1))
                kernel[:, :, target] = known.weights[f"{head}/kernel"][:, :, origin]
                biases[target] = known.weights[f"{head}/bias"][origin]
        weights[f"{head}/kernel"], weights[f"{head}/bias"] = kernel, biases
    return ModelBundle(spec, weights)


def student_bundle(teacher: ModelSpec, size: StudentSize, *, name: str, seed: int = 0) -> ModelBundle:
    """Make a student with random weights for a teacher's body parts.

    Parameters
    ----------
    teacher
        Its body parts and skeleton become the student's.
    size
        Which student.
    name
        Of the student.
    seed
        Of the weights (He et al. 2015, "Delving deep into rectifiers").

    Raises
    ------
    ModelError
        The name is none that a model can have.
    """
    try:
        spec = msgspec.convert(
            {
                "name": name,
                "net_type": f"student_{size}",
                "family": "student",
                "bodyparts": teacher.bodyparts,
                "skeleton": teacher.skeleton,
                "mean_pixel": (GREY_MEAN,) * 3,
                "std_pixel": (GREY_DEVIATION,) * 3,
                "scorer": f"posestream_student{size}_{name}",
                "source": {"kind": "posestream-distil", "snapshot": teacher.name},
            },
            ModelSpec,
        )
    except msgspec.ValidationError as error:
        raise ModelError(f"{name} can't be the name of a model: {error}.") from error
    rng = np.random.default_rng([seed, 4])
    weights: dict[str, NDArray[np.float32]] = {}
    for key, shape in expected_tensors(spec).items():
        if key.endswith("/kernel"):
            deviation = NEW_KERNEL_DEVIATION if "_pred/" in key else np.sqrt(2 / np.prod(shape[:-1]))
            weights[key] = rng.normal(0, deviation, shape).astype(np.float32)
        else:
            weights[key] = np.full(shape, RARE if key == "part_pred/bias" else 0.0, np.float32)
    return ModelBundle(spec, weights)
