"""Networks on videos and stored frames: reading, analysing, checking."""
