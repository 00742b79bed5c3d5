"""Few shots: how well a new class is told apart after one or five pictures."""
