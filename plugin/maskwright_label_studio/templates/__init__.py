"""Labelling configurations that ``maskwright up`` and ``connect`` offer."""
