"""Import TensorFlow and Keras without what they print at their start.

TensorFlow prints before it reads its own setting for the messages' level, so what it prints while it is imported is
caught where it is written, and thrown away. Whatever else was written meanwhile is passed on, and with
`posestream --debug` all of it.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

__all__ = ["import_keras", "import_tensorflow"]

NOISE = re.compile(
    rb"WARNING: All log messages before absl::|[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\]|\d{4}-\d\d-\d\d [\d:.]+: [IWE] "
)
"""How lines of Abseil's log begin, and of TensorFlow's own before it used that, for all that does not end it."""
STDERR = 2


def import_keras() -> Any:
    """Give Keras, imported without its greeting."""
    with _quiet("keras"):
        import keras
    return keras


def import_tensorflow() -> Any:
    """Give TensorFlow, imported without its greeting."""
    with _quiet("tensorflow"):
        import tensorflow as tf
    return tf


@contextlib.contextmanager
def _quiet(module: str) -> Iterator[None]:
    if module in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    with tempfile.TemporaryFile() as caught:
        try:
            kept = os.dup(STDERR)
        except OSError:  # a program without a terminal may have closed it
            yield
            return
        try:
            os.dup2(caught.fileno(), STDERR)
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            caught.seek(0)
            for line in caught:
                if not NOISE.match(line):
                    with contextlib.suppress(OSError):
                        os.write(STDERR, line)
