"""Rebuilds the embedded base checkpoint from nothing: `python -m training.demo_model --out DIR`.

A GPU job of minutes. Faces are rendered into a pool, photos are composed from it on the GPU, the
small Qwen2-VL is trained at low resolution first, then at the demo's own. Stopped and started
again with the same `--out`, it goes on from the last saved state. The adapter on top comes from
the ordinary `python -m training`.
"""

import argparse
import json
import math
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import Qwen2VLForConditionalGeneration

from training import tiny
from training.pretrain import Helpers, Writer, loss_of, seen
from training.render.album import Album
from training.render.pool import load_pool
from training.render.scenes import Camera, Scene

# Width over height of phone photos and how often we draw each.
ASPECTS = {3 / 4: 0.55, 9 / 16: 0.1, 1.0: 0.15, 4 / 3: 0.15, 16 / 9: 0.05}


@dataclass(frozen=True)
class Stage:
    """A part of the training, up to `until` of the time: `tokens` image tokens, `batch` photos a
    step, and whether the language model learns too."""

    until: float
    tokens: int
    batch: int
    speaks: bool = True


PLANS = {
    "cuda": (Stage(0.5, 48, 512), Stage(1.0, 192, 256)),
    "cpu": (Stage(0.35, 48, 64, speaks=False), Stage(1.0, 48, 64)),
}


def shapes(tokens: int) -> list[tuple[int, int]]:
    """Picture sizes (height, width) in pixels that use up a budget of image tokens, one an
    aspect."""
    return [
        (28 * math.floor(math.sqrt(tokens / aspect)), 28 * math.floor(math.sqrt(tokens * aspect)))
        for aspect in ASPECTS
    ]


def rate(progress: float, step: int, peak: float) -> float:
    """Linear warm-up over 300 steps, then a cosine of the progress (0-1) down to nothing."""
    return peak * min(1.0, (step + 1) / 300) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class Run:
    """One training: model, helper heads, optimiser, and where they are saved."""

    def __init__(self, out: Path, minutes: float, peak: float, device: str):
        self.out, self.budget, self.peak, self.device = out, 60 * minutes, peak, device
        self.step, self.seconds = 0, 0.0
        torch.manual_seed(0)
        self.processor = tiny.processor(PLANS[device][-1].tokens)
        self.model = Qwen2VLForConditionalGeneration(tiny.config(self.processor.tokenizer)).to(
            device
        )
        self.helpers = Helpers(self.model.config.text_config.hidden_size).to(device)
        self.writer = Writer(self.processor, self.model)
        parts = nn.ModuleList([self.model, self.helpers])
        self.parameters = list(parts.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=peak, betas=(0.9, 0.95), weight_decay=0.05, fused=device == "cuda"
        )

    @property
    def progress(self) -> float:
        return self.seconds / self.budget

    def learn(self, scene: Scene, speaks: bool) -> tuple[Tensor, Tensor]:
        """One optimiser step; returns the answer loss and the helper losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.progress, self.step, self.peak)
        with torch.autocast(self.device, torch.bfloat16):
            if speaks:
                batch = self.writer.write(scene)
                words, help_ = loss_of(self.model, self.helpers, scene, batch)
            else:
                words, help_ = torch.zeros(()), self.helpers.look(seen(self.model, scene), scene)
        (words + help_).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return words.detach(), help_.detach()

    def save(self) -> None:
        """An ordinary checkpoint folder in bfloat16, and the whole state to go on from."""
        self.processor.save_pretrained(self.out)
        deepcopy(self.model).to(torch.bfloat16).save_pretrained(self.out)
        state = {"step": self.step, "seconds": self.seconds, "helpers": self.helpers.state_dict()}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        partial = self.out / "state.partial"
        torch.save(state, partial)
        partial.replace(self.out / "state.pt")

    def load(self) -> None:
        if not (self.out / "state.pt").exists():
            return
        state = torch.load(self.out / "state.pt", map_location=self.device, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.helpers.load_state_dict(state["helpers"])
        self.optimizer.load_state_dict(state["optimizer"])


def train(run: Run, camera: Camera | Album, pause: float) -> None:
    """Trains until the run's minutes are used up, or for `pause` minutes, and saves."""
    log, began, before = (run.out / "log.jsonl").open("a"), time.monotonic(), run.seconds
    generator = torch.Generator().manual_seed(run.step)
    weights = torch.tensor(list(ASPECTS.values()))
    with tqdm(initial=round(run.seconds), total=round(run.budget), unit="s", mininterval=10) as bar:
        while run.progress < 1 and run.seconds - before < 60 * pause:
            stage = next(stage for stage in PLANS[run.device] if run.progress < stage.until)
            shape = shapes(stage.tokens)[int(torch.multinomial(weights, 1, generator=generator))]
            words, help_ = run.learn(camera.shoot(stage.batch, *shape), stage.speaks)
            if run.step % 1000 == 0:
                run.save()
            if run.step % 50 == 0:
                row: dict[str, float] = {
                    "step": run.step,
                    "seconds": round(run.seconds),
                    "tokens": stage.tokens,
                }
                row |= {"words": round(words.item(), 4), "helpers": round(help_.item(), 4)}
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix(row, refresh=False)
            run.seconds = before + time.monotonic() - began
            bar.update(round(run.seconds) - bar.n)
    run.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--backgrounds", type=Path, required=True, help="folder of JPEGs without tables"
    )
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--minutes", type=float, default=17, help="of training in all")
    parser.add_argument(
        "--pause", type=float, default=60, help="save and stop after so many minutes"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(options.out, options.minutes, options.rate, options.device)
    run.load()
    pool = load_pool(options.out / "pool.pt", options.faces, options.backgrounds, options.workers)
    if options.device == "cuda":
        train(run, Camera(pool, "cuda", seed=run.step), options.pause)
    else:
        album = Album(Camera(pool, seed=run.step, oversample=1), reuse=16, keep=8192)
        train(run, album, options.pause)


if __name__ == "__main__":
    main()
