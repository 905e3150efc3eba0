"""From a file's pixels to what the network sees: intensity, geometry, cached arrays."""
