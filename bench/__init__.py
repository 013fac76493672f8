"""Measurements: each path of ours beside the bare bus doing the same work, in the same run.  `python -m bench`."""
