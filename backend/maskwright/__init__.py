"""Maskwright: an annotation assistant for labelling platforms."""
