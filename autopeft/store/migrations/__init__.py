"""Alembic's migrations of the store's own tables; Optuna keeps its own beside them."""
