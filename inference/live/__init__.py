"""The inference process: frames in, batches through the engine, poses out."""
