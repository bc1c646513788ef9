"""The gate between training and service: a candidate is promoted only if held-out corrections show that it is better.

``held_out`` says which images are never trained on, ``measure`` asks a model for the objects on them, ``bootstrap``
compares two models image by image, and ``verdict`` decides and says why. Nothing here knows SQL or HTTP.
"""
