"""The egress: an HTTP reverse proxy for tools that understand a raw secret and no token.  A network faces it on both sides.

It runs a guard on the agent's call, asks the broker for the credential of this very call, forwards what the tool's record allows to the
record's upstream, and takes the credential out of the answer.  It is the workload of the tools that it stands before, in an account of its
own: it may attach, claim, report, acknowledge and ask for releases, and reads no stream but revocations.  It must never keep a credential
beyond the request, know one that no call needs, decide what a caller may do, or call anything but an upstream of a tool's record.
"""
