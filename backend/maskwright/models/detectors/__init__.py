"""Phrases to boxes."""
