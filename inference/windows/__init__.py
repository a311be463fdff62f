"""Crop windows that follow the animal, and the way of poses back to the frame."""
