"""The trainer: DeepLabCut's labelled frames in, a model bundle out."""
