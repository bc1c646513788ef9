"""Rounds: corrections to an adapter, proved before it is promoted."""
