"""Chladni, a real-time generative performance engine with a fixed and declared latency."""

__version__ = "0.1.0"
