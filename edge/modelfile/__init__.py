"""The only code of the host that reads, walks, changes and packs model files, TFLite and ONNX.

An interpreter runs a file; here it is only read, so nothing of it is executed. The device has no
use for this package: ``edge.runtime`` keeps its own, lighter checks of what it loads.
"""
