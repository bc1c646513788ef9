"""A simulated annotator: labour saved, measured through the same doors."""
