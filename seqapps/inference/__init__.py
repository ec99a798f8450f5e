"""Serving graphs of SavedModels: raw text or numbers in, raw text or numbers out."""
