"""Adapters: small trained weights on a frozen base, as files and inside served models."""
