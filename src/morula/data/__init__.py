"""Files in: samples, datasets, formats, layouts, splits and the doctor."""
