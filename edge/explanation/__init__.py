"""A look inside: what a network, and the file on the device, looks at."""
