"""The session folder: its records and tables, how it is closed, verified and recovered."""

from posestream.stream.session.record import sensor_patches

__all__ = ["sensor_patches"]
