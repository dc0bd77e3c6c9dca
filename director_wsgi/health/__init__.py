"""Health: what this director finds out about servers by itself, in the background.

Director tests (a small file, written and read) and their reports; and how busy servers are, as an operator's Prometheus
tells it. Nothing here runs on the thread of a request.
"""
