"""AutoPEFT."""
