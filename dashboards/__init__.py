"""Assets of the web page."""
