"""One module per interpreter family; ``edge.runtime.session.ENGINES`` lists them."""
