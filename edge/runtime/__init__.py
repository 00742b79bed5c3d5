"""The on-device runtime: Python >= 3.11, numpy, pillow and one interpreter, nothing else.

The same code runs on the host (training, calibration, evaluation) and, copied into every
bundle, on the device.
"""
