"""The jobs users ask for, put together from training, converters, evaluation and benchmarks."""
