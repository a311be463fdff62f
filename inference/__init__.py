"""The network, its importers, the decoder, the batcher and the pose publisher: all that runs beside the processor."""
