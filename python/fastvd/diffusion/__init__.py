"""How clips are degraded, what is learned from it, and how clips are drawn."""

from fastvd.diffusion.cold import ColdConfig, ColdProcess
from fastvd.diffusion.process import Process, ProcessConfig
from fastvd.diffusion.sampling import generators, mix, sample

__all__ = [
    "ColdConfig",
    "ColdProcess",
    "Process",
    "ProcessConfig",
    "generators",
    "make_process",
    "mix",
    "sample",
]


def make_process(config: ProcessConfig | ColdConfig) -> Process | ColdProcess:
    """Return the process that a config describes."""
    return ColdProcess(config) if isinstance(config, ColdConfig) else Process(config)
