"""Few-shot learning: how well new classes are told apart after one or five pictures."""
