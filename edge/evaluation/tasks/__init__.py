"""How good the answers of a task are: one metric a module, on records of each image."""
