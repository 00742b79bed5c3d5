"""What the Keras model of a bundle, and the file on the device, look at in an image."""
