"""What a model file of somebody else's is: task, decoder, input and labels, each with evidence."""
