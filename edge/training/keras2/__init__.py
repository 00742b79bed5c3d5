"""Reads the networks that Keras 2 and TensorFlow.js stored, and builds them with Keras 3.

No code of a file is run: layers come from a table of Keras's own classes and of TensorFlow's
operators, and what is in neither is refused by name.
"""
