"""A network with fused kernels under gradient checkpointing, autocast, torch.compile, DDP, and as
sampling calls it.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracle import FusedOps
from small_network import network, results
from torch import Tensor

from fastvd import kernels
from fastvd.models import VideoUNet
from fastvd.models.denoiser import WARM_UPS, Denoiser, lowered
from fastvd.models.device import autocast


@pytest.fixture
def given() -> tuple[Tensor, Tensor]:
    """A clip of two frames, and its timestep."""
    return torch.randn(1, 3, 2, 4, 4), torch.tensor([300.0])


@pytest.fixture
def net() -> VideoUNet:
    return network()


def rms(tensors: list[Tensor]) -> float:
    return float(torch.cat([t.double().flatten() for t in tensors]).square().mean().sqrt())


def test_gradient_checkpointing_changes_no_bit(net, given):
    wanted = results(net, *given)
    net.gradient_checkpointing = True
    with FusedOps() as ops:
        got = results(net, *given)
    assert "fastvd::row_norm_backward" in ops.called
    assert all(map(torch.equal, got, wanted))


def test_autocast_errs_as_plain_pytorch_does(net, given, device):
    with kernels.eager():
        exact = results(copy.deepcopy(net).double(), *(x.double() for x in given))
        with torch.autocast(device, torch.bfloat16):
            plain = results(net, *given)
    with torch.autocast(device, torch.bfloat16), FusedOps() as ops:
        got = results(net, *given)
    assert "fastvd::temporal_block_backward" in ops.called
    errors = [rms([a - b for a, b in zip(found, exact, strict=True)]) for found in (got, plain)]
    assert errors[0] <= 2 * errors[1]
    assert all(g.dtype == torch.float32 for g in got[1:])


def test_compiles_into_one_graph(net, given):
    wanted = results(net, *given)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    got = results(net, *given, call=compiled)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


RANK = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from oracle import FusedOps
from small_network import network, results
from small_network import ops as small_ops
from fastvd import kernels

rank, meeting = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.backends.cudnn.allow_tf32 = False
if torch.cuda.is_available():
    torch.set_default_device("cuda")
distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
torch.manual_seed(0)
net, x, t = network(), torch.randn(2, 3, 2, 4, 4), torch.tensor([10.0, 900.0])
with FusedOps() as ops:
    _, *got = results(net, x[rank:][:1], t[rank:][:1], call=DistributedDataParallel(net))
assert small_ops("row_norm", "temporal_block") <= ops.called
with kernels.eager():
    _, *wanted = results(net, x, t)
for a, b in zip(got, wanted, strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))
distributed.destroy_process_group()
"""


def test_two_processes_have_the_gradients_of_the_whole_batch(tmp_path):
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    if not torch.cuda.is_available():
        env["TRITON_INTERPRET"] = "1"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "meeting")],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [rank.communicate()[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(ends)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@torch.inference_mode()
def test_weights_cast_beforehand_change_no_bit(net, given, device, precision):
    with autocast(torch.device(device), precision):
        wanted = net(*given)
        assert torch.equal(lowered(net, precision)(*given), wanted)
    assert {p.dtype for p in net.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.inference_mode()
def test_a_pass_replays_as_a_cuda_graph(net, precision):
    gpu = torch.device("cuda")
    denoise = Denoiser(net, precision=precision, device=gpu)
    for seed in range(WARM_UPS + 3):
        x, t = torch.randn(1, 3, 2, 4, 4), torch.tensor([100.0 * seed])
        with autocast(gpu, precision):
            wanted = net(x, t)
        assert torch.equal(denoise(x, t), wanted)
    assert len(denoise.graphs) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_step_replays_as_cuda_graphs(net, given):
    wanted = results(net, *given)
    graphed = torch.cuda.make_graphed_callables(net, given, allow_unused_input=True)
    for _ in range(2):
        assert all(map(torch.equal, results(net, *given, call=graphed), wanted))
