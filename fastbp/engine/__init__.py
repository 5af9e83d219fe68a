"""From Python to compiled code: plans, scratch memory, threads. No mathematics."""
