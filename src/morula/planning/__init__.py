"""Facts about the data in, decisions out."""
