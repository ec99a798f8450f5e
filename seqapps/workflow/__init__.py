"""Stages of a run: what each needs, what it makes, and what it was made from."""
