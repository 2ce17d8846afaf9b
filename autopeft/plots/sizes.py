"""Widths and font sizes of the page, in pixels."""

WIDTH = 1600
LEFT, RIGHT = 130, 40
PANEL_WIDTH = WIDTH - LEFT - RIGHT

TITLE, HEADING, BODY, SMALL = 34.0, 26.0, 22.0, 18.0
