"""Training of adapters on corrections, for every family of segmenters."""
