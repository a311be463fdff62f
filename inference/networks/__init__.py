"""The networks' layers and the decoder of their maps; the weights that come with posestream lie beside."""
