"""Compiled code only: no validation, no Python objects, and nothing of fastbp but itself."""
