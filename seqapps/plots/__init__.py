"""Plots of the applications, as PNG files."""
