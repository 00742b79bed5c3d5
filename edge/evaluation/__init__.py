"""Evaluation: run a written file over images, and score what it says. No TensorFlow."""
