"""Recurrent layers and what stands around them, as Keras layers."""
