"""Distilling: a large network teaches a small one on a lab's own videos (Hinton et al. 2015, arXiv 1503.02531)."""
