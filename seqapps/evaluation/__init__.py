"""A trained model against its baselines and the champion: figures, intervals, slices, examples."""
