"""Makes a bundle again from its lock: the lock, the stored options, and what differs."""
