"""Alembic migrations of the corrections store; ``database`` runs them when it opens."""
