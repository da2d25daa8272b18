"""A run that is killed, at any moment and inside a save, ends as one that was not."""

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastvd import checkpoint, config
from fastvd.train import Trainer
from fastvd.train.log import read_log

# Imports once, then runs each line of its input in a fork: a config, a run directory and either
# the seconds after which it is killed or the number of the fsync or rename at which it is.
SERVER = """
import json, os, pathlib, signal, sys, threading
# what the first fit() of a process would import, seconds each time
import torch._dynamo, torch.utils.tensorboard
from fastvd import config
from fastvd.train import TrainConfig, Trainer

def count_down(left):
    def counting(act):
        def wrapper(*args):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return act(*args)
        return wrapper
    os.fsync = counting(os.fsync)
    pathlib.Path.rename = counting(pathlib.Path.rename)

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        if job["syncs"]:
            count_down([job["syncs"]])
        run = config.load_config(job["config"], TrainConfig)
        Trainer(run, videos=job["videos"], run_dir=job["run_dir"], workers=job["workers"]).fit()
        os._exit(0)
    timer = threading.Timer(job["seconds"] or 1e6, os.kill, (pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    _, status = os.waitpid(pid, 0)
    timer.cancel()
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Server:
    def __init__(self, folder: Path, videos: Path, run) -> None:
        config.save_config(folder / "run.yaml", run)
        self._job = {"config": str(folder / "run.yaml"), "videos": str(videos)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", SERVER], text=True, **pipes)

    def run(self, run_dir: Path, *, seconds=None, syncs=None, workers=0) -> bool:
        """Returns whether the run came to its end before it was killed."""
        job = {"run_dir": str(run_dir), "seconds": seconds, "syncs": syncs, "workers": workers}
        self.process.stdin.write(json.dumps(self._job | job) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        assert code in (0, -9)
        return code == 0


def _digest(run_dir: Path) -> str:
    """Hash of the final weights, averages, optimiser state and of every loss."""
    last = checkpoint.newest(run_dir)
    files = [last / f"{part}.safetensors" for part in ("model", "ema", "optim")]
    losses = [(r["step"], r["loss"]) for r in read_log(run_dir) if "loss" in r]
    content = b"".join(path.read_bytes() for path in files) + repr(losses).encode()
    return f"{last.name} {hashlib.sha256(content).hexdigest()}"


@pytest.fixture(scope="module")
def run(tiny_config):
    return tiny_config(
        steps=3, accumulate=1, checkpoint_every=1, held_out_clips=0, sample_clips=0, keep_last=2
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory, videos, run) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), videos, run)
    yield server
    server.process.stdin.close()
    server.process.stdout.close()
    server.process.wait()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, server) -> tuple[str, float]:
    """What a run that nobody kills ends with, and the seconds it takes."""
    run_dir = tmp_path_factory.mktemp("unbroken")
    assert server.run(run_dir)
    # the first run waits for the server's imports, so another one is timed
    started = time.monotonic()
    assert server.run(tmp_path_factory.mktemp("timed"))
    return _digest(run_dir), time.monotonic() - started


def test_fork_of_the_server_runs_as_this_process_does(tmp_path, videos, run, unbroken):
    Trainer(run, videos=videos, run_dir=tmp_path).fit()
    assert _digest(tmp_path) == unbroken[0]


def test_killed_at_every_sync_and_rename_of_a_save(tmp_path, server, unbroken):
    digest, _ = unbroken
    # a save has seven syncs and one rename, and the third one deletes the first by another
    for syncs in range(2 * 8 + 1, 3 * 8 + 2):
        run_dir = tmp_path / str(syncs)
        assert not server.run(run_dir, syncs=syncs)
        # and again in the first save after going on, if there is one
        is_over = server.run(run_dir, syncs=1 + syncs % 8)
        assert is_over or server.run(run_dir)
        assert _digest(run_dir) == digest, f"killed at {syncs}"


def test_killed_at_random_moments_with_other_workers(tmp_path, server, unbroken):
    digest, whole_s = unbroken
    moments = random.Random(5)
    killed = 0
    for attempt in range(4):
        run_dir = tmp_path / str(attempt)
        for workers in (0, 4):
            seconds = moments.uniform(0, whole_s)
            killed += not server.run(run_dir, seconds=seconds, workers=workers)
        assert server.run(run_dir, workers=1)
        assert _digest(run_dir) == digest, f"attempt {attempt}"
    assert killed > 0
