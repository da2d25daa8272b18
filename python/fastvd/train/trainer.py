"""Trainer: from a config and a folder of videos to a trained run."""

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fastvd import allocator, checkpoint
from fastvd.arguments import check_kind, check_whole, local_path
from fastvd.data import Batch
from fastvd.diffusion import make_process
from fastvd.models import VideoUNet
from fastvd.models.device import move, pick_device
from fastvd.train import resume
from fastvd.train.ema import Ema
from fastvd.train.evaluate import Evaluation
from fastvd.train.inputs import Videos, open_inputs
from fastvd.train.log import RunLog, RunProgress
from fastvd.train.optim import Optim
from fastvd.train.result import TrainResult, mean_losses
from fastvd.train.save import save_and_prune
from fastvd.train.settings import TrainConfig
from fastvd.train.step import StepResult, TrainStep, seed_of
from fastvd.train.stop import Stop, StopRequested

_log = logging.getLogger(__name__)


class Trainer:
    """Trains ``network`` of ``config`` on ``videos``, in ``run_dir``; ``ema.network`` is averaged.

    ``init_from``: a run or a checkpoint whose weights a new run starts from, as far as they fit;
    ``init_report`` lists what did not. ``workers``: threads that read clips.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        videos: Videos,
        run_dir: Path | str,
        device: torch.device | str | None = None,
        init_from: Path | str | None = None,
        workers: int = 2,
    ) -> None:
        check_kind(TrainConfig, config=config)
        check_whole(workers=workers)
        self.config = config
        self.run_dir = local_path(run_dir, name="run_dir")
        self.device = pick_device(device)
        self.step = 0
        self.process = make_process(config.process)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(config.seed, 0, "weights"))
            self.network = VideoUNet(config.network)
        self.init_report = (
            None
            if init_from is None
            else resume.load_from(self.network, local_path(init_from, name="init_from"))
        )
        move(self.network, self.device)
        self.ema = Ema(self.network, config.ema)
        self._optim = Optim(
            self.network, config.optim, steps=config.steps, averages=self.ema.averages
        )
        self._train_step = TrainStep(
            self.network, self._optim, self.ema, precision=config.precision, device=self.device
        )
        self._forward = torch.compile(self.network) if config.compile else self.network
        self._best: tuple[float, int] = (math.inf, 0)
        self._held_out_loss: float | None = None
        self._saved_step = -1
        self._inputs = open_inputs(
            config, videos, device=self.device, workers=workers, run_dir=self.run_dir
        )
        self._evaluation = None
        if self._inputs.held_out is not None:
            self._evaluation = Evaluation(
                self.process,
                self._inputs.held_out,
                batch_size=config.batch_size,
                precision=config.precision,
                device=self.device,
                seed=config.seed,
            )

    def fit(self, *, max_minutes: float | None = None) -> TrainResult:
        """Train up to ``config.steps``, going on from the newest sound checkpoint in ``run_dir``.

        The first SIGINT or SIGTERM lets the step end, saves and returns; so does ``max_minutes``.
        A second signal leaves at once. Raises NonFiniteError after ten steps in a row without
        effect, OSError (ENOSPC) where there is no room for checkpoints at the start or the end,
        ValueError for a ``run_dir`` of another config.
        """
        if self.device.type == "cpu":
            _log.info(allocator.tune())
        self.run_dir.mkdir(parents=True, exist_ok=True)
        resume.settle_config(self.run_dir, self.config)
        is_fresh = not self._restore()
        # weights, average and two moments of the gradient, which a new run does not have yet
        size = 4 * checkpoint.size_of({"model": self.network.state_dict()})
        checkpoint.check_space(self.run_dir, size)
        deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(Stop())
            log = RunLog(self.run_dir, step=-1 if is_fresh else self.step)
            stack.callback(log.close)
            progress = RunProgress(steps=self.config.steps, step=self.step)
            stack.enter_context(progress)
            batches = self._inputs.loader.stream(self.step * self.config.accumulate)
            stack.enter_context(contextlib.closing(batches))
            try:
                self._train(batches, stop, log=log, progress=progress, deadline=deadline)
            except StopRequested:
                self._save(is_last=True)
        by_time = "time" if self.step < self.config.steps else None
        return self._result(stop.signal.name if stop.signal else by_time)

    def _train(
        self,
        batches: Iterator[Batch],
        stop: Stop,
        *,
        log: RunLog,
        progress: RunProgress,
        deadline: float,
    ) -> None:
        """Train to the last step; StopRequested when a signal or the deadline comes before."""
        with stop.breakable():
            if self.step == 0:
                _log.info("held-out loss and samples of step 0, to compare with")
                self._evaluate(log)
            if not self._samples_path().with_suffix(".gif").exists():
                self._draw()
        while self.step < self.config.steps:
            started = time.perf_counter()
            with stop.breakable():
                clips = [b.clip for b in itertools.islice(batches, self.config.accumulate)]
            result = self._step(clips)
            step_s = time.perf_counter() - started
            self._report(result, step_s, log=log, progress=progress)
            if time.monotonic() > deadline and self.step < self.config.steps:
                raise StopRequested
            self._mark(stop, log)

    def _step(self, clips: list[Tensor]) -> StepResult:
        if self.device.type == "cuda":
            clips = [clip.contiguous(memory_format=torch.channels_last_3d) for clip in clips]
        generator = torch.Generator(self.device)
        generator.manual_seed(seed_of(self.config.seed, self.step, "noise"))
        result = self._train_step.run(self.step, clips, loss=self._loss, generator=generator)
        self.step += 1
        return result

    def _loss(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        return self.process.loss(self._forward, clip, generator=generator)

    def _mark(self, stop: Stop, log: RunLog) -> None:
        """Do what is due at this step: held-out loss, checkpoint, samples."""
        is_last = self.step == self.config.steps
        is_saved = is_last or self.step % self.config.checkpoint_every == 0
        if is_saved or self.step % self.config.evaluate_every == 0:
            with stop.breakable():
                self._evaluate(log)
        if is_saved:
            self._save(is_last=is_last)
            with stop.breakable():
                self._draw()

    def _evaluate(self, log: RunLog) -> None:
        if self._evaluation is None or not self.config.held_out_clips:
            return
        losses = self._evaluation.loss(self.ema.network)
        self._held_out_loss = losses["held_out_loss"]
        self._best = min(self._best, (self._held_out_loss, self.step))
        log.write({"step": self.step, **losses})

    def _draw(self) -> None:
        if self._evaluation is None or not self.config.sample_clips:
            return
        try:
            self._evaluation.write_samples(
                self.ema.network,
                self.config.sample_clips,
                self._samples_path(),
                fps=self.config.clips.fps,
            )
        except OSError as error:
            _log.warning("NO SAMPLES OF STEP %d: %s", self.step, error)

    def _report(
        self, result: StepResult, step_s: float, *, log: RunLog, progress: RunProgress
    ) -> None:
        clips = self.config.batch_size * self.config.accumulate
        skipped = self._train_step.skipped
        record: dict[str, float | int | str | None] = {"step": self.step}
        if result.skipped:
            record["not_finite"] = f"loss {result.loss}, gradient norm {result.grad_norm}"
            _log.warning("STEP %d SKIPPED: %s", self.step, record["not_finite"])
        else:
            record |= {"loss": result.loss, "grad_norm": result.grad_norm}
        record |= {"lr": result.lr, "skipped": skipped, "clips_per_s": round(clips / step_s, 3)}
        if result.skipped or self.step % self.config.log_every == 0:
            log.write(record | {"time": round(time.time(), 3)})
        loss = None if result.skipped else result.loss
        progress.show(self.step, loss=loss, step_s=step_s, clips=clips)

    def _save(self, *, is_last: bool) -> None:
        if self._saved_step == self.step:
            return
        best = None if math.isinf(self._best[0]) else list(self._best)
        state = {
            "step": self.step,
            "train_step": self._train_step.state(),
            "ema_updates": self.ema.updates,
            "best": best,
            "held_out_loss": self._held_out_loss,
            "videos": self._inputs.fingerprint,
            "torch": str(torch.__version__),
        }
        is_saved = save_and_prune(
            self.run_dir,
            self.step,
            tensors=self._tensors(),
            state=state,
            keep_last=self.config.keep_last,
            keep=[] if best is None else [self._best[1]],
            is_last=is_last,
        )
        self._saved_step = self.step if is_saved else self._saved_step

    def _restore(self) -> bool:
        """Take over the newest sound checkpoint; returns whether there is one."""
        found = resume.load_newest(self.run_dir)
        if found is None:
            return False
        resume.load_weights(self.network, found.tensors["model"], where=found.directory)
        resume.load_weights(self.ema.network, found.tensors["ema"], where=found.directory)
        self._optim.load_state(found.tensors["optim"])
        state = found.state
        self.step, self.ema.updates = state["step"], state["ema_updates"]
        self._saved_step = self.step
        self._train_step.load_state(state["train_step"])
        self._best = (math.inf, 0) if state["best"] is None else tuple(state["best"])
        self._held_out_loss = state["held_out_loss"]
        _log.info("going on from %s", found.directory)
        if state["videos"] != self._inputs.fingerprint:
            _log.warning("THE VIDEOS ARE NOT THOSE OF BEFORE: clips come in another order")
        return True

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        model, ema = self.network.state_dict(), self.ema.network.state_dict()
        return {"model": model, "ema": ema, "optim": self._optim.state()}

    def _samples_path(self) -> Path:
        return self.run_dir / "samples" / f"step-{self.step:08d}"

    def _result(self, stopped_by: str | None) -> TrainResult:
        first, last = mean_losses(self.run_dir)
        return TrainResult(
            steps=self.step,
            skipped=self._train_step.skipped,
            first_loss=first,
            last_loss=last,
            held_out_loss=self._held_out_loss,
            stopped_by=stopped_by,
        )
