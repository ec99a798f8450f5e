"""Evaluation of a trained model against its baselines and the champion: metrics, intervals, slices, examples."""
