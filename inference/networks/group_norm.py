"""Group norm (Wu & He 2018) as a layer; imported only once Keras may be."""

from typing import Any

import keras
from keras import ops

__all__ = ["GroupNorm"]


class GroupNorm(keras.layers.GroupNormalization):  # type: ignore[misc]  # Keras has no types
    """Keras's layer for channels in the last place, with means that are taken over the picture first.

    Keras splits the channels into groups and takes means over three axes of five, which TensorFlow does slowly on a
    CPU. The mean of the means of a group's channels is the same number, and rounds less. The variance is that of what
    is left once the mean is taken away, as the difference of two large numbers would be wrong in float32.
    """

    def call(self, inputs: Any) -> Any:
        """Normalise float32 (B, H, W, C)."""
        pixels = ops.cast(inputs, "float32")
        centred = pixels - self._group_mean(pixels)
        scale = ops.rsqrt(self._group_mean(ops.square(centred)) + self.epsilon) * self.gamma
        return ops.cast(centred * scale + self.beta, self.compute_dtype)

    def _group_mean(self, pixels: Any) -> Any:
        """Mean of each channel's group, (B, 1, 1, C)."""
        channels = pixels.shape[-1]
        grouped = ops.reshape(ops.mean(pixels, axis=(1, 2)), (-1, self.groups, channels // self.groups))
        means = ops.mean(grouped, axis=-1, keepdims=True)
        return ops.reshape(ops.repeat(means, channels // self.groups, axis=-1), (-1, 1, 1, channels))
