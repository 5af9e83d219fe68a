"""From functions in Python to machine code that is kept: the machine, the decorators, the cache."""
