"""What goes wrong with a model, said for people."""

__all__ = ["ModelError"]


class ModelError(Exception):
    """A model cannot be read, is damaged, or is asked for something that it cannot do.

    The text is one or two sentences that a person can act on: what is wrong, where, and what to do.
    """
