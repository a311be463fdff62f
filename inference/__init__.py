"""Runs DeepLabCut networks on frames, live from cameras or from video files."""

import os

# TensorFlow reads this when it is first imported; its start-up messages would stand above every answer of ours.
# `posestream --debug` sets it to 0 before.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
