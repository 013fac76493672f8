"""The supervisor: one place that owns signals, starts every worker, builds anew what ended, and stops all in order.

It holds the operator's files while it creates them, and the bootstrap credential for the first facts.  It decides nothing, answers
nobody and is not needed where something else starts the workers (a container each: `weft run WORKER`).
"""
