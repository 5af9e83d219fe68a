"""The version, in its one place: the build backend and `fastbp.__version__` both read it here."""

__version__ = "0.1.0"
