"""The host's side of ``edge live``: a bundle to begin with, the pictures, and what is made of them.

What runs on a device as well, camera, model, page and interface, is ``edge.runtime.live``.
"""
