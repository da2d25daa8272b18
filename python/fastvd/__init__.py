"""Train and sample video diffusion models."""
