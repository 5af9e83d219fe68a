"""How threads share the work of a region without waiting longer than they must."""
