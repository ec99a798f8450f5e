"""The training of a model: loop, checkpoints, log, display, and the folder of the trained model."""
