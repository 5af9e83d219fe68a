"""Networks of other libraries, made of fastbp's and the other way round.

Each module imports the library that it is for, and is imported only where that is asked for.
"""
