"""A vector for every place of an image, without training."""
