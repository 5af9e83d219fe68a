"""Networks with a narrow first layer: rows of X go forward and back while they are in the cache."""
