"""The training of a model: loop, checkpoints, log, display, and the folder that it leaves."""
