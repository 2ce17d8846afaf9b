"""``python -m autopeft``."""

from autopeft.cli import main

main()
