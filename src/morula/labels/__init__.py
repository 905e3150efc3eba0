"""Labels to labels or tables: pure numpy functions, 2D and 3D."""
