"""From maps to poses: the best cell of each body part, corrected by the location refinement of that cell.

    x = column * stride + stride / 2 + locref_x * locref_stdev        (y likewise with the row)

The network answers on a grid, eight pixels between cells; `part_pred` says how likely the body part lies in a cell and
`locref_pred` how far from the middle of the cell, in units of `locref_stdev` pixels. This is how DeepLabCut reads a
pose (Mathis et al. 2018, Nature Neuroscience 21:1281). Its first decoder went over frames and body parts in a double
loop; Mathis & Warren 2018 ("On the inference speed and video-compression robustness of DeepLabCut", bioRxiv 457242)
vectorised it over a batch. Here stand three forms of it: the double loop as the reference, the vectorised NumPy form,
and one inside the network's graph, which leaves K x 3 numbers of a frame to be copied back.

Where several cells are equally likely, which happens when the sigmoid has reached 1, all take the first in row order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_double_loop", "decode_graph", "decode_numpy", "sigmoid"]

Maps = NDArray[np.float32]


def sigmoid(part_logits: Maps) -> Maps:
    """Likelihood of each cell from the network's answer, both float32 (B, h, w, K)."""
    # exp of a number above 0 could overflow; this form takes it of -|x| only
    small = np.exp(-np.abs(part_logits, dtype=np.float32))
    likelihood = np.where(part_logits >= 0, np.float32(1), small) / (np.float32(1) + small)
    return likelihood.astype(np.float32, copy=False)


def decode_numpy(scoremap: Maps, locref: Maps | None, *, stride: float = 8.0, locref_stdev: float = 7.2801) -> Maps:
    """Decode a batch, vectorised.

    Parameters
    ----------
    scoremap
        Likelihoods (after the sigmoid), float32 (B, h, w, K).
    locref
        Location refinement, float32 (B, h, w, 2K), channels x0, y0, x1, y1, ...; None where the network has none.
    stride
        Pixels between neighbouring cells.
    locref_stdev
        Pixels that a refinement of 1 stands for.

    Returns
    -------
    NDArray[np.float32]
        (B, K, 3): x and y in pixels of the input, likelihood 0 to 1.

    Raises
    ------
    ValueError
        The shapes or dtypes are not as above, or the maps are empty.
    """
    _check(scoremap, locref)
    batch, height, width, parts = scoremap.shape
    cells = scoremap.reshape(batch, height * width, parts)
    peak = cells.argmax(axis=1)  # (B, K)
    rows, columns = np.divmod(peak, width)
    frame, part = np.ogrid[:batch, :parts]
    step, half = np.float32(stride), np.float32(0.5 * stride)
    poses = np.empty((batch, parts, 3), dtype=np.float32)
    poses[..., 0] = columns.astype(np.float32) * step + half
    poses[..., 1] = rows.astype(np.float32) * step + half
    poses[..., 2] = cells[frame, peak, part]
    if locref is not None:
        offsets = locref.reshape(batch, height * width, parts, 2)[frame, peak, part]
        poses[..., :2] += offsets * np.float32(locref_stdev)
    return poses


def decode_double_loop(
    scoremap: Maps, locref: Maps | None, *, stride: float = 8.0, locref_stdev: float = 7.2801
) -> Maps:
    """Decode a batch by the double loop over frames and body parts: slow, and the reference for the others.

    Parameters, result and errors are those of `decode_numpy`, to the last bit. As in the original, coordinates are
    summed in float64.
    """
    _check(scoremap, locref)
    batch, _, _, parts = scoremap.shape
    poses = np.empty((batch, parts, 3), dtype=np.float32)
    for frame in range(batch):
        for part in range(parts):
            likelihood = scoremap[frame, :, :, part]
            row, column = np.unravel_index(np.argmax(likelihood), likelihood.shape)
            offset = np.zeros(2, dtype=np.float32)
            if locref is not None:
                offset = locref[frame, row, column, 2 * part : 2 * part + 2] * np.float32(locref_stdev)
            poses[frame, part, 0] = float(column) * stride + 0.5 * stride + float(offset[0])
            poses[frame, part, 1] = float(row) * stride + 0.5 * stride + float(offset[1])
            poses[frame, part, 2] = likelihood[row, column]
    return poses


def decode_graph(
    part_logits: Any,
    locref: Any | None,
    *,
    parts: int,
    stride: float,
    locref_stdev: float,
    apply_sigmoid: bool = True,
    clip_scores: bool = False,
) -> Any:
    """Decode within a Keras graph, whatever the backend and the height and width of the maps.

    Parameters
    ----------
    part_logits
        Keras tensor, float32 (B, h, w, K), before the sigmoid.
    locref
        Keras tensor, float32 (B, h, w, 2K), or None.
    parts
        K.
    stride, locref_stdev
        As in `decode_numpy`.
    apply_sigmoid
        Whether the likelihood is the sigmoid of the maps, or the maps themselves, as of the Gaussians that
        DeepLabCut 3 trains its networks to draw.
    clip_scores
        Whether the likelihood is clipped to 0 to 1 in the end; the peak is sought before that.

    Returns
    -------
    KerasTensor
        float32 (B, K, 3): x, y in pixels, likelihood.
    """
    from keras import layers, ops

    def flat(maps: Any) -> Any:
        """(B, h, w, K) to (B, K, h * w): the peak is then sought along the last axis."""
        return layers.Reshape((parts, -1))(ops.transpose(maps, (0, 3, 1, 2)))

    scoremap = ops.sigmoid(part_logits) if apply_sigmoid else part_logits
    # Every cell's own position is made by counting ones, since height and width may be known only when a frame comes.
    # The peak comes from top_k: OpenVINO cannot convert what argmax becomes in TensorFlow, and of equals top_k too
    # takes the first.
    ones = ops.ones_like(scoremap)
    x = (ops.cumsum(ones, axis=2) - 0.5) * stride
    y = (ops.cumsum(ones, axis=1) - 0.5) * stride
    if locref is not None:
        x = x + locref[:, :, :, 0::2] * locref_stdev
        y = y + locref[:, :, :, 1::2] * locref_stdev
    likelihood, peak = ops.top_k(flat(scoremap), 1)
    if clip_scores:
        likelihood = ops.clip(likelihood, 0.0, 1.0)
    # Nothing is gathered at the peak: OpenVINO's Gather now and then reads beside its input on processors with AVX-512
    # (openvinotoolkit/openvino#35422), which gives a wrong place or a fault. Numbers of cells are exact in float32.
    cell = ops.cumsum(flat(ones), axis=-1) - 1.0
    at_peak = ops.equal(cell, ops.cast(peak, "float32"))
    picked = [ops.sum(ops.where(at_peak, flat(maps), 0.0), axis=-1, keepdims=True) for maps in (x, y)]
    return ops.concatenate([*picked, likelihood], axis=-1)


def _check(scoremap: Maps, locref: Maps | None) -> None:
    if scoremap.ndim != 4 or scoremap.dtype != np.float32 or 0 in scoremap.shape[1:]:
        raise ValueError(f"scoremap must be float32 (B, h, w, K) and not empty, not {scoremap.dtype} {scoremap.shape}")
    if locref is None:
        return
    expected = (*scoremap.shape[:3], 2 * scoremap.shape[3])
    if locref.shape != expected or locref.dtype != np.float32:
        raise ValueError(f"locref must be float32 {expected}, not {locref.dtype} {locref.shape}")
