"""Image folders: which files, which classes, which split, by content."""
