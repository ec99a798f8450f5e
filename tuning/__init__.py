"""The search for a better `model` and `training` section. The only package that imports KerasTuner."""

from seqapps.top_level import imported

imported(__name__)
