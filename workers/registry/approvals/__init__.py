"""Approvals: a gateway has a person asked, a person answers, a broker spends the answer; each is one change of one fact.

What is single about an approval is the fact itself: every change is written against the revision it was decided on, so of two that
would spend it one is refused (docs/decisions/0010-approvals.md).
"""
