"""The search for a better `model` and `training` section. The only place that imports KerasTuner."""
