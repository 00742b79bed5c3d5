"""Evaluation: run a written file over images, and score its answers, without TensorFlow."""
