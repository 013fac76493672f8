"""The edge's faces, one module each: `routes(...)`, the `BODIES` they take, and their `DESCRIPTION` in OpenAPI.

A face reads the HTTP request, asks the worker whose business it is over the bus, and writes the answer.  It decides nothing.
"""
