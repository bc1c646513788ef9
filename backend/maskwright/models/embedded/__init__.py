"""The learnt segmenter that travels with the package: a small SAM-shaped network over the weight-free engine."""
