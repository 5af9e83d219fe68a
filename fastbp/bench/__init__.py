"""The comparison behind ``fastbp bench``: fastbp and its peers on the same work, and the limits.

`comparison` runs it, `problems` holds the work, `systems` a file for each system, `worker` and
`processes` the two ends of a system's process, `machine` the measured limits,
`limits` the formula, `tables` and `plot` what people look at. Peers are imported in their own
processes only.
"""
