"""Servers that fan a message out, each in the way of its own library; started by the harness."""
