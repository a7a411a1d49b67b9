"""Imports of other people's checkpoints: read as data, never executed, and written as ONNX graphs of our own.

`open_checkpoint(path)` reads the container (pickle, torch archive, safetensors) into plain data, its tensors
mapped from the file. `read(path)` finds the architecture, checks every weight by name and shape, and returns
a `Network` (see network.py). Both raise CheckpointError, one clear line.
"""
