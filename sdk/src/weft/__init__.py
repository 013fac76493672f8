"""The Weft SDK: for agents (`Agent`) and for tools (`Guard`).  It speaks the wire contract and needs nothing of the fabric's code."""
