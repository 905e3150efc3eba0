"""Labels against truth: metrics, statistics, tuning of the decoder, the report."""
