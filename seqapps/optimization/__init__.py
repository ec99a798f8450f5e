"""Optimisation: losses, optimizers, training steps, schedules, gradient clipping, data parallelism."""
