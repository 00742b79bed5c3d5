"""Keras Applications, converted and measured here, beside the table that Keras publishes."""
