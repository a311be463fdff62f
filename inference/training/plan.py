"""What a training is, but its data: two trainings of one plan, one start and the same frames give the same network."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = ["TrainingPlan"]


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a training."""

    steps: Annotated[int, Meta(ge=1)] = 5000
    batch_pixels: Annotated[int, Meta(ge=128 * 128)] = 4 * 256 * 256
    """Of the crops of one step together: what a step costs."""
    batch_norm: bool = False
    """Whether batch norm is trained, too: a network needs it that begins with random weights."""
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-4
    """Of Adam, after the warm-up; it then falls to 0 as a cosine does."""
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    """Of kernels, as AdamW has it (Loshchilov & Hutter 2019)."""
    averaging: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share of the old in the running average of all weights that becomes the network; 0: the weights themselves."""
    warm_up_steps: Annotated[int, Meta(ge=0)] = 100
    clip_norm: Annotated[float, Meta(gt=0)] = 5.0
    """Longest gradient that is followed, over all weights together."""
    smallest_scale: Annotated[float, Meta(gt=0)] = 0.11
    largest_scale: Annotated[float, Meta(gt=0)] = 1.1
    """Every scale between them is as likely as twice that scale."""
    locref_weight: Annotated[float, Meta(gt=0)] = 0.5
    """Of the location refinement in the loss. DeepLabCut's is 0.05, for hundreds of times as many steps: in a short
    training the refinement then stays several times as coarse as the labels."""
    disc_px: Annotated[float, Meta(ge=8)] = 17.0
    """Radius of the discs in a picture of full size (DeepLabCut's `pos_dist_thresh`)."""
    mirror: bool = True
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """In which the network computes; its weights are float32 in both."""
    seed: Annotated[int, Meta(ge=0)] = 0
    evaluate_steps: Annotated[int, Meta(ge=1)] = 250
    """Between two looks at the frames held back."""
    checkpoint_steps: Annotated[int, Meta(ge=1)] = 250
