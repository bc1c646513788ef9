"""Classes for every pixel: how right they are, beside what needs no model."""
