"""What `posestream bench` measures, and its figures."""
