"""Conformance suites and doubles for those who write a part of their own. Needs pytest; nothing else imports this."""
