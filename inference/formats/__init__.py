"""What DeepLabCut leaves behind, read without executing any of it, and the model bundle."""
