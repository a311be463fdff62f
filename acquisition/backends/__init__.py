"""Camera backends, one camera family a file, and what they share."""
