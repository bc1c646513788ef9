"""Phrases to regions: what a phrase asks for, where it could be, and which of these it means."""
