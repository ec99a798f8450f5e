"""What training minimises and how: losses, optimizers, steps, schedules, clipping, replicas."""
