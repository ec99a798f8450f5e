"""The prepared data set: its manifest, its schema, and the arrays that hold its examples."""
