"""DeepLabCut's losses: sigmoid cross-entropy on the discs, and Huber's on the location refinement within them."""

from typing import Any

__all__ = ["total_loss"]


def total_loss(
    logits: Any, locref: Any, discs: Any, refinement: Any, within: Any, known: Any, *, locref_weight: float
) -> Any:
    """Loss of a batch.

    Parameters
    ----------
    logits, locref
        What the network says, (B, h, w, K) and (B, h, w, 2K).
    discs, refinement, within
        What `draw_targets` drew.
    known
        (B, K), 1 or 0: body parts that nobody looked for do not count.
    locref_weight
        Of the location refinement's loss.

    Returns
    -------
    tensor
        A number: the mean cross-entropy of the cells, plus the weight times the mean Huber loss (delta 1) within discs.
    """
    from keras import ops

    weight = known[:, None, None, :]
    entropy = ops.relu(logits) - logits * discs + ops.log1p(ops.exp(-ops.abs(logits)))
    cells = ops.sum(weight * ops.ones_like(discs))
    away = ops.abs(locref - refinement)
    huber = ops.where(away <= 1.0, 0.5 * away * away, away - 0.5)
    entropy_loss = ops.sum(weight * entropy) / ops.maximum(cells, 1.0)
    locref_loss = ops.sum(within * huber) / ops.maximum(ops.sum(within), 1.0)
    return entropy_loss + locref_weight * locref_loss
