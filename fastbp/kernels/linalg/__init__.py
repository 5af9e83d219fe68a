"""Matrix products: packing, micro-kernel, the loops around it, and products without packing."""
