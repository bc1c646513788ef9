"""Regions out: files that other tools read."""
