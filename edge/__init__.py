"""edge: from a folder of photos to a verified model on an embedded device."""

__version__ = "0.2.0"
