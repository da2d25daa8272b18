"""Fused building blocks of the video U-Net, each with a plain PyTorch twin."""
