"""What sampling calls: passes that are replayed, and weights cast once, change no number."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastvd.models import VideoUNet, VideoUNetConfig, denoiser, tiny, two_stage, vdm
from fastvd.models.denoiser import WARM_UPS, Denoiser
from fastvd.models.device import check_lies_on

CPU = torch.device("cpu")
GPU = torch.device("cuda")
SMALL = VideoUNetConfig(dim=16, mults=(1, 2), attention=("linear", "full"), cond_dim=4)


class Tape(TorchDispatchMode):
    """A CUDA graph on a CPU: what ran is run again on the same memory, numbers stay unseen."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.inference_mode()  # torch watches no graph
    def replay(self):
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


@pytest.fixture(autouse=True)
def tapes(monkeypatch):
    """Tapes in place of CUDA graphs, in the order of their making."""
    made = []

    def capture(call, device):
        tape = Tape()
        with tape:
            answer = call()
        made.append(tape)
        return answer, tape.replay

    monkeypatch.setattr(denoiser, "capture", capture)
    monkeypatch.setattr(denoiser, "check_lies_on", lambda *_: None)
    return made


def network(config=SMALL):
    torch.manual_seed(0)
    net = VideoUNet(config).eval()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return net


def inputs(seed, batch=2, cond=True):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 3, 4, 8, 8, generator=generator)
    t = torch.rand(batch, generator=generator) * 1000
    return x, t, torch.randn(batch, 4, generator=generator) if cond else None


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@torch.inference_mode()
def test_a_replayed_pass_answers_as_the_network_does(tapes):
    net = network()
    denoise = Denoiser(net, precision="float32", device=GPU)
    for seed in range(WARM_UPS + 3):
        x, t, cond = inputs(seed)
        assert torch.equal(denoise(x, t, cond=cond), net(x, t, cond=cond))
        assert len(tapes) == (seed >= WARM_UPS)


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@torch.inference_mode()
def test_every_shape_has_its_own_graph_and_every_answer_its_own_memory(tapes):
    net = network()
    denoise = Denoiser(net, precision="float32", device=GPU)
    each = [inputs(1), inputs(2), inputs(3, cond=False), inputs(4, batch=1)]
    for _ in range(WARM_UPS + 1):
        answers = [denoise(x, t, cond=cond) for x, t, cond in each]
    assert len(tapes) == 3
    for (x, t, cond), answer in zip(each, answers, strict=True):
        assert torch.equal(answer, net(x, t, cond=cond))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_a_graph_serves_inside_and_outside_of_inference_mode():
    net = network()
    denoise = Denoiser(net, device=GPU)
    for seed in range(WARM_UPS + 3):
        x, t, cond = inputs(seed)
        with torch.inference_mode(seed <= WARM_UPS), torch.no_grad():
            assert torch.equal(denoise(x, t, cond=cond), net(x, t, cond=cond))


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_without_a_graph_sampling_goes_on(monkeypatch):
    def refuse(call, device):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(denoiser, "capture", refuse)
    net = network()
    denoise = Denoiser(net, precision="float32", device=GPU)
    x, t, cond = inputs(0)
    with pytest.warns(UserWarning, match="without a CUDA graph: out of memory") as told:
        answers = [denoise(x, t, cond=cond) for _ in range(WARM_UPS + 3)]
    assert len([w for w in told if "CUDA graph" in str(w.message)]) == 1
    assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("device", [CPU, GPU])
def test_other_networks_run_as_they_are(tapes, device):
    calls = []

    def other(x, t, *, cond=None):
        calls.append(float(x.sum()))  # looks at numbers
        return x

    denoise = Denoiser(other, precision="float32", device=device)
    for seed in range(5):
        x, t, _ = inputs(seed)
        assert torch.equal(denoise(x, t), x)
    assert len(set(calls)) == 5
    assert not tapes


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"network": None}, TypeError, "network must be callable, got None"),
        ({"device": "gpu"}, ValueError, "device must be cpu, cuda, .* got 'gpu'"),
        ({"device": None}, TypeError, "device must be a str or a torch.device, got None"),
        ({"precision": "bf16"}, ValueError, "precision must be one of float32, .* got 'bf16'"),
    ],
)
def test_bad_arguments_are_named(given, error, message):
    with pytest.raises(error, match=message):
        Denoiser(**{"network": network(), "device": CPU} | given)


def test_a_network_that_lies_elsewhere_is_refused():
    # a graph of a pass on the CPU would replay nothing
    check_lies_on(network(), CPU)
    with pytest.raises(ValueError, match="network lies on cpu, not on cuda: move it there"):
        check_lies_on(network(), GPU)


class Transfers(TorchDispatchMode):
    """Ops that wait for a device, or bring numbers to it: a graph can hold neither."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        # a number beside a tensor goes along with the launch
        sizes = {t.device.type for t in tensors if t.ndim}
        if len(sizes) > 1 or func is torch.ops.aten._local_scalar_dense.default:
            self.found.append(str(func))
        return out


@pytest.mark.parametrize(
    "config",
    [vdm(16), two_stage("base"), two_stage("interpolator"), tiny(), SMALL],
    ids=["vdm", "two_stage_base", "two_stage_interpolator", "tiny", "small"],
)
@torch.no_grad()
def test_a_pass_on_a_gpu_never_turns_to_the_host(config):
    with FakeTensorMode(), torch.device("cuda"):
        net = VideoUNet(config)
        x, t = torch.randn(2, config.in_channels, 3, 64, 64), torch.rand(2)
        cond = torch.randn(2, config.cond_dim) if config.cond_dim else None
        with Transfers() as transfers:
            net(x, t, cond=cond)
    assert transfers.found == []
