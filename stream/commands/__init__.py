"""The commands of `posestream`, a thin file each, and their helpers."""
