"""Converters: one Keras model that takes RGB 0..255 -> model files in every format and precision."""
