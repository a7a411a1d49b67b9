"""Devices and files, one a module: translation only."""
