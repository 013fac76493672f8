"""The command line.  A person's hands: it speaks to the fabric as any operator or agent may, with that one's own credential.

`weft up` and `weft run` start workers; everything else is a client and holds nothing.
"""
