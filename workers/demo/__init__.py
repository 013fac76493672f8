"""The demonstration: the essay's flow on real parts, with its attacks.  Not a worker; it drives one fabric from outside."""
