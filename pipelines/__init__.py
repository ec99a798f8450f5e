"""Apache Beam jobs: raw rows to prepared data. The only package that imports Beam."""
