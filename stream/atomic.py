"""Replaces files whole: a kill or a power failure on the way leaves the old one or the new one."""

from posestream.stream.wire.durable import replacing

__all__ = ["replacing"]
