"""What a prepared data set is: its manifest, its schema, and the arrays that hold its examples."""
