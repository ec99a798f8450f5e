"""Pictures of a task, as PNG files."""
