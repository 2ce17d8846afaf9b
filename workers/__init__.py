"""Proxy training: a request in, a report out. Reached by name, ``workers.proxy:run``."""
