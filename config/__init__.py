"""Typed settings, a sentence per field, checked at start."""
