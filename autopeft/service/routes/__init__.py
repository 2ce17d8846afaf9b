"""The routes of the API, one file a group; each defines a ``router``."""
