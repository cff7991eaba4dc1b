"""Predicts the photos of a row that have no line yet; lines already written stay."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from datasets import Dataset
from PIL import Image
from tqdm import tqdm

from eval.perturb import PERTURBATIONS
from eval.sweep.resume import PHOTO_HASH
from eval.sweep.targets import Target
from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.data.sources import photo_file, undecoded
from nutrition_vl.detector import Detector
from nutrition_vl.running.resume import as_line, locked


def predict(
    detector: Detector,
    target: Target,
    rows: Dataset,
    batches: Sequence[Sequence[int]],
    progress: tqdm,
) -> None:
    """Appends one JSON line per photo of these batches of rows, which have a PHOTO_HASH.

    A line is `Answer.record` with the photo's `id`, hash and number of `malformed` boxes.
    """
    indices = [index for batch in batches for index in batch]
    lines = _lines(detector, target, rows, indices, len(batches[0]))
    for batch in batches:
        done = [*islice(lines, len(batch))]
        with locked(target.file, wait=True) as stream:
            stream.writelines(done)
        progress.update(len(batch))


def _lines(
    detector: Detector, target: Target, rows: Dataset, indices: Sequence[int], batch_size: int
) -> Iterator[bytes]:
    images = undecoded(rows.select_columns("image"))
    photos = (partial(_photo, images, index, target.perturb) for index in indices)
    stream = detector.stream(photos, batch_size=batch_size, adapter=target.adapter)
    names = rows.remove_columns("image")
    for index, detection in zip(indices, stream, strict=True):
        answer, photo = detection.unwrap(), detection.photo
        assert photo is not None
        named = {key: names[index][key] for key in ("id", PHOTO_HASH)}
        yield as_line(named | answer.record(photo.size) | {"malformed": answer.malformed})


def _photo(images: Dataset, index: int, perturb: str) -> Image.Image | PhotoFile:
    photo = photo_file(images[index]["image"])
    return PERTURBATIONS[perturb].apply(photo.open()) if perturb else photo
