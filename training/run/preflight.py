"""Seven checks before the base is loaded: each prints its result, or stops with the reason."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from datasets import Dataset

from nutrition_vl.boxes import GRID, from_text
from nutrition_vl.data import truth
from nutrition_vl.data.label_report import SHEET, count, draw_contact_sheet, reasons
from nutrition_vl.data.rows import Skipped
from nutrition_vl.models.family import Model, Processor, part_of
from training.examples.examples import (
    Collator,
    answer_text,
    length,
    patches,
    to_example,
    trained_tokens,
)
from training.examples.resized_photos import ResizedPhotos
from training.plan.choose import choose, smaller_setting
from training.plan.forecast import checkpoint_bytes
from training.plan.parameter_counts import modules_by_target, quantizable, trainable
from training.plan.plan import Plan, Workload
from training.plan.usage import GIB, free_memory
from training.run.callbacks import SKIPPED
from training.run.optimizer import check_rates
from training.run.photo_check import check_photos
from training.settings.config import TrainConfig

SAMPLES = 3  # photos whose trained tokens are printed


class Preflight:
    """The checks of one run; each returns its lines of output."""

    def __init__(
        self,
        config: TrainConfig,
        rows: Dataset,
        processor: Processor,
        model: Model,
        skipped: list[Skipped],
    ) -> None:
        self.config, self.processor, self.model = config, processor, model
        self.rows, self.facts = rows, rows.remove_columns("image")
        self.skipped = skipped
        self.resized: ResizedPhotos | None = None
        self.trained: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.labels = 0
        self.plan = Plan(config.per_device_train_batch_size, config.gradient_accumulation_steps)

    def run(self) -> Dataset:
        """Runs all checks; returns the rows to train on. ValueError where something is wrong."""
        checks = {
            "photos": self.photos,
            "box text": self.box_text,
            "trained tokens": self.tokens,
            "quantisation": self.quantisation,
            "adapters": self.adapters,
            "longest sequence": self.sequences,
            "memory and disk": self.memory,
        }
        for number, (name, check) in enumerate(checks.items(), 1):
            first, *more = check()
            self.config.report(f"[{number}/{len(checks)}] {name} … ok: {first}")
            for line in more:
                self.config.report(f"      {line}")
        return self.rows

    def photos(self) -> list[str]:
        """Opens every photo; leaves out unreadable ones where they are few."""
        self.rows, self.resized = check_photos(
            self.config, self.rows, self.processor, self.model, self.skipped
        )
        self.facts = self.rows.remove_columns("image")
        boxes = [len(xyxy) for xyxy in self.facts["xyxy"]]
        counted = f"{len(boxes)} photos, {sum(boxes)} boxes, {boxes.count(0)} photos without one"
        listed = f"{len(self.skipped)} left out, listed in {SKIPPED}"
        left_out = [listed, *reasons(self.skipped)[1:]] if self.skipped else []
        return [counted, *left_out, *count(self.rows), self._draw()]

    def _draw(self) -> str:
        """Draws twelve photos with their boxes next to the log; one process does."""
        sheet = Path(str(self.config.output_dir)) / SHEET
        if self.config.process_index == 0:
            try:
                draw_contact_sheet(self.rows, sheet, f"{self.config.data_path}, split train")
            except OSError as error:  # a full disk; the picture is not worth the run
                sheet.unlink(missing_ok=True)
                return f"no boxes drawn: {sheet} cannot be written ({error})"
        return f"boxes drawn: {sheet}"

    def box_text(self) -> list[str]:
        """Checks that boxes are read back from their text, within a step of the grid."""
        for row in self.facts:
            size = (row["width"], row["height"])
            true, read = truth(row), from_text(answer_text(row), size).detections
            same = sorted(true.data["class_name"]) == sorted(read.data["class_name"])
            step = np.array([*size, *size]) / GRID
            off = (
                np.sort(true.xyxy / step, axis=0) - np.sort(read.xyxy / step, axis=0) if same else 2
            )
            if np.abs(off).max(initial=0) > 1.001:
                raise ValueError(f"the boxes of {row['id']} do not survive being written as text")
        return [f"{len(self.facts)} rows come back within 1/{GRID} of the photo's sides"]

    def tokens(self) -> list[str]:
        """Decodes the trained tokens and checks that they are the whole answer and no image."""
        rows = [self.rows[index] for index in range(min(SAMPLES, len(self.rows)))]
        collator = Collator(self.processor, completion_only_loss=self.config.lora.answer_only)
        batch = collator([to_example(row, self.processor) for row in rows])
        tokenizer, lines = self.processor.tokenizer, []
        for row, trained in zip(rows, trained_tokens(batch), strict=True):
            text = tokenizer.decode(trained, skip_special_tokens=False)
            answer = answer_text(row) + tokenizer.eos_token
            whole = text.strip() == answer or not collator.completion_only_loss
            if self.processor.image_token in text or not (whole and answer in text):
                raise ValueError(f"{row['id']} would train {text!r} instead of {answer!r}")
            lines.append(f"{row['id']}: {text!r}")
            self.labels = max(self.labels, len(trained))
        return [f"no image token, every answer to its {tokenizer.eos_token}", *lines]

    def quantisation(self) -> list[str]:
        """Counts the layers to be quantised."""
        if self.config.quantization == "none":
            return [f"none, all layers in {self.config.runtime.dtype}"]
        layers = Counter(part_of(name) for name in quantizable(self.model))
        return [
            f"{self.config.quantization} for {n} layers of {part}" for part, n in layers.items()
        ]

    def adapters(self) -> list[str]:
        """Checks that every target matches modules; counts the parameters trained in them."""
        recipe = self.config.lora
        matches = modules_by_target(self.model, recipe)
        every = sum(weight.numel() for weight in self.model.parameters())
        self.trained = trainable(self.model, recipe, self.config.lora_bias)
        check_rates(self.config, self.trained)
        total = sum(self.trained.values())
        lines = [f"{total:,} parameters trained next to {every:,} ({total / every:.3%})"]
        for target, modules in matches.items():
            parts = ", ".join(sorted({part_of(name) for name in modules}))
            here = sum(self.trained[name] for name in modules)
            lines.append(f"{target:36} {len(modules):4} modules {here:12,} parameters  {parts}")
        return lines

    def sequences(self) -> list[str]:
        """Finds the longest sequence: image tokens, prompt and answer."""
        self.lengths = [length(row, self.processor) for row in self.facts]
        longest = max(self.lengths)
        where = self.facts[self.lengths.index(longest)]["id"]
        return [f"{longest} tokens ({where}), {round(np.mean(self.lengths))} on average"]

    def memory(self) -> list[str]:
        """Plans the run, and compares its memory and disk with the free ones."""
        device, folder = self.config.runtime.device, Path(str(self.config.output_dir))
        counts = [patches(row, self.processor) for row in self.facts]
        tokens = sum(counts) // self.processor.image_processor.merge_size**2
        work = Workload(
            self.model, self.trained, max(self.lengths), max(counts), self.labels, tokens
        )
        self.plan, free = choose(self.config, work), free_memory(device)
        text = f"{self.plan.memory_by_part} of {free / GIB:.2f} free on {device}"
        if self.plan.memory > free:
            raise ValueError(f"this takes {text}: use {smaller_setting(self.config)}")
        disk = checkpoint_bytes(self.config, self.plan, len(self.rows))
        room = shutil.disk_usage(folder).free
        if disk > room:
            raise ValueError(
                f"the checkpoints take {disk / GIB:.2f} GiB and {folder} has {room / GIB:.2f} left:"
                " use --save_total_limit 2"
            )
        checkpoints = f"{disk / GIB:.2f} GiB of checkpoints" if disk else "no checkpoint is saved"
        room_left = f"{checkpoints}, {room / GIB:.2f} GiB free in {folder}"
        return [text, room_left, str(self.plan), *self.plan.notes]
