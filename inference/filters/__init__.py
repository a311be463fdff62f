"""Pose filters: one a file, and one line in `FILTERS`."""

from collections.abc import Callable, Mapping

from posestream.inference.filters.chain import PoseFilter

__all__ = ["FILTERS"]

FILTERS: Mapping[str, Callable[[], PoseFilter]] = {}
"""What makes a filter for a camera, by name, in the order in which poses go through them."""
