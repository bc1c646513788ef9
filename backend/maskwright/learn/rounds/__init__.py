"""Rounds: snapshot of the corrections -> adapter and class head -> measured against what serves -> in service, or not."""
