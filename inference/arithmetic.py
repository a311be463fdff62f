"""How many multiplications with addition a network needs for a frame, counted from its layers.

With it, the share of the machine's matrix rate that the network reaches can be said.
"""

from math import prod

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import UNITS, ModelSpec, expected_tensors

__all__ = ["multiply_adds"]


def multiply_adds(spec: ModelSpec, height: int, width: int) -> int:
    """Count the multiply-adds of all convolutions and both heads for one frame.

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
    if spec.family == "frozen-graph":
        raise ModelError(f"{spec.name} is a frozen graph, whose arithmetic is not counted. Choose a ResNet.")
    kernels = {name: shape for name, shape in expected_tensors(spec).items() if name.endswith("/kernel")}
    cells = _half(_half((height, width)))  # behind the pool
    total = prod(kernels.pop("conv1/kernel")) * prod(_half((height, width)))
    for block, units in enumerate(UNITS[spec.net_type], start=1):
        for unit in range(1, units + 1):
            name = f"block{block}/unit_{unit}"
            strided = unit == 1 and block in (2, 3) if spec.family == "timm" else unit == units and block <= 2
            behind = _half(cells) if strided else cells
            total += prod(kernels.pop(f"{name}/conv1/kernel")) * prod(cells)
            for layer in ("conv2", "conv3", "shortcut"):
                total += prod(kernels.pop(f"{name}/{layer}/kernel", (0,))) * prod(behind)
            cells = behind
    return total + sum(prod(head) for head in kernels.values()) * prod(cells)  # a head spreads each cell it reads


def _half(size: tuple[int, int]) -> tuple[int, int]:
    """Size of what a layer of stride 2 leaves."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2
