"""Converters: a Keras model that takes RGB 0..255 -> files in every format and precision."""
