"""Rounds: snapshot of the corrections -> adapter, class head -> measured beside what serves -> promoted, or not."""
