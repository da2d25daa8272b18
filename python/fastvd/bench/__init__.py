"""Times kernels, a network and an update against plain and compiled PyTorch, at given shapes.

Fused and plain results are compared before anything is timed. Where kernels do not run fused (no
GPU, no Triton), plain PyTorch alone is timed, and the report says so.
"""
