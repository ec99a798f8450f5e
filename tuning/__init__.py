"""The search for a better `model` and `training` section. The only package that imports KerasTuner."""
