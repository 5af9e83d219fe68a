"""Networks of any shape: every layer is a matrix product, with what follows it in the epilogue."""
