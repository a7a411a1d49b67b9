"""The web page: what it is told, what it may ask, and who is let in."""
