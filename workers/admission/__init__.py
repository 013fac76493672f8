"""Who may connect, as what, and until when; and who has to leave.

Admission answers the server's authorization callout: it verifies the SVID (or the operator's key) against the key that the connection
proves, looks up who that is, and places the connection in the one account of its kind under an attested name.  It cuts connections
whose standing is lost.  It alone holds the scoped signing keys of the outer accounts; what a connection may do is written in their
templates, so that a forged answer grants no more.  It reads FACTS, writes RECORD, and decides nothing about tools.
"""
