"""Metrics from per-example sums: plain numpy, the same for networks and baselines."""
