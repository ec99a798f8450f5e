"""Apache Beam jobs: raw rows to prepared data. The only package that imports Beam."""

from seqapps.top_level import imported

imported(__name__)
