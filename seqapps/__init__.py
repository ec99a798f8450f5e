"""seqapps: raw text or a series to a recurrent model that is tuned, tracked, promoted and served."""

__version__ = "0.1.0"
