"""The pages at ``/``: what was learnt, and the levers."""
