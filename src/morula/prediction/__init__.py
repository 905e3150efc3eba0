"""Images and a model in, labels out."""
