"""What a model answers, by task: the results, and a decoder for each layout of output tensors."""
