"""The neural networks of Chladni: trained with PyTorch, exported to ONNX, played without PyTorch."""
