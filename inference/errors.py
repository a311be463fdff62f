"""What goes wrong with a model or a video, said for people."""

from posestream.stream.wire.errors import InputError

__all__ = ["ModelError", "VideoError"]


class ModelError(InputError):
    """A model cannot be read, is damaged, or is asked for something that it cannot do.

    The text is one or two sentences that a person can act on: what is wrong, where, and what to do.
    """


class VideoError(InputError):
    """A video cannot be read, or cannot be shown to the network as asked; the text is for people."""
