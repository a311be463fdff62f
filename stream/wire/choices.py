"""What a setting may be where that is one of a few words or numbers. Help texts list them: nothing heavy is needed."""

from typing import Literal

__all__ = ["Container", "Flip", "Join", "Mode", "Precision", "PrecisionChoice", "Rotation"]

Container = Literal["mp4", "mkv"]
Join = Literal["vertical", "horizontal"]
Mode = Literal["freshest", "every-frame"]
Precision = Literal["float32", "bfloat16", "float16", "int8"]
"""Numbers that a network computes with."""
PrecisionChoice = Literal["auto", Precision]
Flip = Literal["none", "horizontal", "vertical", "both"]
"""`horizontal` changes left and right, `vertical` top and bottom."""
Rotation = Literal[0, 90, 180, 270]
"""Degrees clockwise; after the flip, where there are both."""
