"""What SavedModels hold: raw text or numbers in, raw text or numbers out, as graph operations."""
