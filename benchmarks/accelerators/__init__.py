"""Every path from a model file to a processor, one module per engine; ``table`` lists them."""
