"""How many multiplications with addition a network needs for a frame, and how large its maps are.

With the first, the share of the machine's matrix rate that the network reaches can be said.
"""

from posestream.inference.errors import ModelError
from posestream.inference.families import FAMILIES, head_channels
from posestream.inference.families.survey import Survey, survey
from posestream.inference.formats.bundle import ModelSpec

__all__ = ["map_size", "multiply_adds"]


def multiply_adds(spec: ModelSpec, height: int, width: int) -> int:
    """Count the multiply-adds of all convolutions and heads for one frame.

    Parameters
    ----------
    spec
        The model.
    height, width
        Of the frame in pixels.

    Returns
    -------
    int
        Each is two floating-point operations. Zeros that a convolution pads with are counted as pixels, as is usual;
        biases, norms, the pool and the decoder are not counted: together they are well under a hundredth.

    Raises
    ------
    ModelError
        The model is a frozen graph, whose layers are not known.
    """
    return _survey(spec, height, width).multiply_adds


def map_size(spec: ModelSpec, height: int, width: int) -> tuple[int, int]:
    """Height and width in cells of the maps for a frame; parameters and errors are those of `multiply_adds`."""
    return _survey(spec, height, width).map_size


def _survey(spec: ModelSpec, height: int, width: int) -> Survey:
    if spec.family not in FAMILIES:
        raise ModelError(f"{spec.name} is a frozen graph, whose arithmetic is not counted. Choose another.")
    heads = head_channels(spec.bodyparts, location_refinement=spec.location_refinement)
    return survey(FAMILIES[spec.family], spec.net_type, spec.norm, heads, height, width)
