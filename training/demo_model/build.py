"""Trains the embedded base: rendered photos, stage by stage, in a run that can be stopped."""

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from tqdm import tqdm

from nutrition_vl.files import append_jsonl
from nutrition_vl.models.family import Model
from nutrition_vl.models.load import load_base
from nutrition_vl.models.runtime import detect_runtime
from training.demo_model import architecture as tiny
from training.demo_model import ranks, streams
from training.demo_model.losses import Batch, Helpers, Writer, loss_of, visual_tokens
from training.render.camera.album import Album
from training.render.camera.pool import make_pool
from training.render.camera.scenes import ASPECTS, Camera, Scene

T = TypeVar("T")
DONE = "done"  # an empty file next to the model that has used up its minutes
HELPERS = "helpers.safetensors"  # next to the model, to train it further
FRESH = 2_000_000  # the first face of a further training, which draws its own


@dataclass(frozen=True)
class Stage:
    """A part of the training, up to `until` of the time: `tokens` image tokens, `batch` photos a
    step, and whether the language model learns too."""

    until: float
    tokens: int
    batch: int
    language: bool = True


PLANS = {
    "cuda": (Stage(0.14, 48, 512), Stage(0.60, 192, 384), Stage(1.0, 300, 288)),
    "cpu": (Stage(0.35, 48, 64, language=False), Stage(1.0, 48, 64)),
}
# From a finished checkpoint: fewer tokens show more pictures a second, the last stage the demo's.
FURTHER = {"cuda": (Stage(0.3, 192, 384), PLANS["cuda"][-1]), "cpu": PLANS["cpu"][-1:]}


def draw_shape(tokens: int, generator: torch.Generator) -> tuple[int, int]:
    """A picture's height and width in pixels, of one of ASPECTS, that uses up the image tokens."""
    chances = torch.tensor(list(ASPECTS.values()))
    aspect = list(ASPECTS)[int(torch.multinomial(chances, 1, generator=generator))]
    return 28 * math.floor(math.sqrt(tokens / aspect)), 28 * math.floor(math.sqrt(tokens * aspect))


def rate(progress: float, step: int, peak: float) -> float:
    """Linear warm-up over 300 steps, then a cosine of the progress (0-1) down to nothing."""
    return peak * min(1.0, (step + 1) / 300) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class Run:
    """One training: model, helper heads, optimiser, and where they are saved."""

    def __init__(
        self, out: Path, minutes: float, peak: float, device: str, start: Path | None = None
    ):
        self.out, self.budget, self.peak, self.device = out, 60 * minutes, peak, device
        self.step, self.seconds, self.plan = 0, 0.0, PLANS[device]
        self.rank, self.ranks = ranks.join(device)
        torch.manual_seed(0)
        self.processor = tiny.processor(self.plan[-1].tokens)
        if start:
            self.plan = FURTHER[device]
            self.model = load_base(start, detect_runtime(device), quantization="none").float()
        else:
            config = tiny.config(self.processor.tokenizer)
            self.model = Model(config).to(device)
        self.helpers = Helpers(self.model.config.text_config.hidden_size).to(device)
        if start and (start / HELPERS).exists():
            load_model(self.helpers, start / HELPERS, device=device)
        self.writer = Writer(self.processor, self.model)
        if device == "cuda":
            for layer in self.model.model.language_model.layers:
                layer.compile()
        parts = nn.ModuleList([self.model, self.helpers])
        self.parameters = list(parts.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=peak, betas=(0.9, 0.95), weight_decay=0.05, fused=device == "cuda"
        )

    @property
    def progress(self) -> float:
        return self.seconds / self.budget

    @property
    def stage(self) -> Stage:
        """The part of the plan that the progress has come to."""
        return next(stage for stage in self.plan if min(self.progress, 1) <= stage.until)

    def learn(self, scene: Scene, batch: Batch | None) -> tuple[Tensor, Tensor]:
        """One optimiser step; returns the answer loss and the helper losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.progress, self.step, self.peak)
        with torch.autocast(self.device, torch.bfloat16):
            if batch:
                words, help_ = loss_of(self.model, self.helpers, scene, batch)
            else:
                tokens = visual_tokens(self.model, scene)
                words, help_ = torch.zeros(()), self.helpers.vision_loss(tokens, scene)
        (words + help_).backward()
        ranks.average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return words.detach(), help_.detach()

    def log(self, stage: Stage, words: Tensor, helpers: Tensor) -> None:
        """Adds a line to log.jsonl."""
        if self.rank:
            return
        row = {"step": self.step, "seconds": round(self.seconds), "tokens": stage.tokens}
        losses = {"words": round(words.item(), 4), "helpers": round(helpers.item(), 4)}
        append_jsonl(self.out / "log.jsonl", row | losses)

    def save(self) -> None:
        """An ordinary checkpoint folder in bfloat16, and the whole state to go on from."""
        if self.rank:
            return
        self.processor.save_pretrained(self.out)
        deepcopy(self.model).to(torch.bfloat16).save_pretrained(self.out)
        save_model(self.helpers, str(self.out / HELPERS))
        state = {"step": self.step, "seconds": self.seconds, "helpers": self.helpers.state_dict()}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        partial = self.out / "state.partial"
        torch.save(state, partial)
        partial.replace(self.out / "state.pt")

    def load(self) -> None:
        """Goes on from the saved state, if there is one."""
        if not (self.out / "state.pt").exists():
            return
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.helpers.load_state_dict(state["helpers"])
        self.optimizer.load_state_dict(state["optimizer"])


def shots(run: Run, camera: Camera | Album) -> Iterator[tuple[Stage, Scene, Batch | None]]:
    """Endless photos of the stage that the run is in, with their answers."""
    generator = torch.Generator().manual_seed(run.step * run.ranks + run.rank)
    while True:
        stage = run.stage
        count = -(-stage.batch // run.ranks)
        scene = camera.shoot(count, *draw_shape(stage.tokens, generator))
        batch = run.writer.write(scene) if stage.language else None
        if run.device == "cuda":
            streams.hand_over(scene, batch)
        yield stage, scene, batch


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each made while the one before is in use, on a GPU in a stream of its own."""
    with ThreadPoolExecutor(1, initializer=streams.use_own) as thread:
        coming = thread.submit(next, items)
        while True:
            item, coming = coming.result(), thread.submit(next, items)
            yield item


def train(run: Run, camera: Camera | Album, pause: float) -> None:
    """Trains until the run's minutes are used up, or for `pause` minutes, and saves."""
    began, before = time.monotonic(), run.seconds
    with tqdm(
        initial=round(run.seconds), total=round(run.budget), unit="s", mininterval=10,
        disable=run.rank > 0,
    ) as bar:  # fmt: skip
        for stage, scene, batch in ahead(shots(run, camera)):
            losses = run.learn(scene, batch)
            if run.step % 50 == 0:
                run.log(stage, *losses)
            if run.step % 500 == 0:
                run.save()
            run.seconds = ranks.agree(before + time.monotonic() - began)
            bar.update(round(run.seconds) - bar.n)
            if run.progress >= 1 or run.seconds - before >= 60 * pause:
                break
    run.save()
    if run.progress >= 1:
        (run.out / DONE).touch()


def build(options: argparse.Namespace) -> None:
    """Trains the base that the command line asks for."""
    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA GPU that PyTorch can use here: use --device cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(options.out, options.minutes, options.rate, options.device, options.start)
    run.load()
    store, seed = options.pool or options.out / "pool", run.step * run.ranks + run.rank
    draw = partial(
        make_pool, options.faces, options.backgrounds, options.workers,
        seed=FRESH if options.start else 0, store=store,
    )  # fmt: skip
    pool = draw() if run.rank == 0 else None  # the others read the faces that the first rank drew
    ranks.wait()
    pool = pool or draw()
    if options.device == "cuda":
        train(run, Camera(pool, "cuda", seed, crops=options.crops), options.pause)
    else:
        camera = Camera(pool, seed=seed, crops=options.crops)
        train(run, Album(camera, reuse=4, keep=8192), options.pause)
    ranks.leave()
