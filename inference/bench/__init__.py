"""Measures how fast networks run: see `posestream bench`."""
