"""Stages of a run: their inputs, their outputs, and records of both."""
