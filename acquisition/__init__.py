"""Cameras, the H.264 recorder, the frame table and the frame publisher: all that runs beside a camera."""
