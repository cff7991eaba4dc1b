"""Reads each photo once: hashes its file, checks it, and keeps it resized for the vision tower."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.data.rows import Skipped
from nutrition_vl.data.sources import photo_bytes, undecoded
from nutrition_vl.files import write_jsonl
from nutrition_vl.models.family import Model, Processor
from nutrition_vl.models.pixel_budget import budget_of
from training.examples.examples import PHOTO
from training.examples.resized_photos import ResizedPhotos
from training.run.callbacks import SKIPPED
from training.settings.config import TrainConfig
from training.settings.recipes import pattern

MOST_SKIPPED = 0.05  # of the photos


def check_photos(
    config: TrainConfig,
    rows: Dataset,
    processor: Processor,
    model: Model,
    skipped: list[Skipped],
) -> tuple[Dataset, ResizedPhotos | None]:
    """The rows whose photo can be read, with its hash, and the photos for the vision tower.

    The other rows join `skipped`, and skipped.jsonl; ValueError where they are many.
    """
    resized = ResizedPhotos(Path(str(config.output_dir))) if _kept(config, model) else None
    images, budget = undecoded(rows.select_columns("image")), budget_of(processor)

    def check(index: int) -> tuple[str, str]:
        """The hash of a photo's file, and the problem with it, if there is one."""
        try:
            file = photo_bytes(image := images[index]["image"])
            photo = budget.fit(PhotoFile(file, image["path"]), processor.image_processor)
        except (OSError, ValueError) as error:
            return "", str(error)
        digest = sha256(file).hexdigest()
        if resized is not None:
            resized.add(digest, photo)
        return digest, ""

    with ThreadPoolExecutor() as pool:
        checks = pool.map(check, range(len(rows)))
        hide = config.process_index > 0
        results = list(tqdm(checks, "photos", len(rows), False, unit="photo", disable=hide))
    hashes, problems = zip(*results, strict=True) if results else ((), ())
    pairs = zip(rows["id"], problems, strict=True)
    skipped += [Skipped(name, problem) for name, problem in pairs if problem]
    _report(config, skipped, len(rows) + len(skipped) - sum(map(bool, problems)))
    rows = rows.add_column(PHOTO, list(hashes))
    if any(problems):
        rows = rows.select([index for index, problem in enumerate(problems) if not problem])
    return rows, resized


def _kept(config: TrainConfig, model: Model) -> bool:
    """True where this process is going to compute visual features, as far as can be known yet."""
    targets = re.compile(pattern(config.lora.targets))
    trained = any(
        targets.fullmatch(name) for name, _ in model.model.visual.named_modules(prefix="visual")
    )
    off = config.plain or config.preflight_only or not config.cache_features or trained
    return config.process_index == 0 and not off


def _report(config: TrainConfig, skipped: list[Skipped], total: int) -> None:
    """Lists the skipped rows in a file; ValueError where they are more than MOST_SKIPPED."""
    file = Path(str(config.output_dir)) / SKIPPED
    if config.process_index == 0:
        file.unlink(missing_ok=True)
        if skipped:
            write_jsonl(file, map(asdict, skipped))
    if len(skipped) > MOST_SKIPPED * total:
        raise ValueError(
            f"{len(skipped)} of {total} photos cannot be read, more than "
            f"{MOST_SKIPPED:.0%}: {file} lists them, the first is: {skipped[0].error}"
        )
