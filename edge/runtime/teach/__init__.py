"""A device that learns: what it was taught, what that is worth, and who may change it."""
