"""Maskwright for Label Studio."""
