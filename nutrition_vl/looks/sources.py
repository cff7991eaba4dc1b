"""Photos on their way into the model: opened and turned into inputs, or into an error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from nutrition_vl.answer import Detection
from nutrition_vl.data.photos import PhotoFile
from nutrition_vl.decoding.inputs import ModelInputs
from nutrition_vl.models.family import Model, Processor

Photo = Image.Image | PhotoFile
# A function is called in a reading thread; inputs were prepared in another process.
Source = Photo | str | Path | Callable[[], Photo] | ModelInputs
Prepared = ModelInputs | Detection  # or the detection with the error


def prepare_inputs(source: Source, processor: Processor, model: Model) -> Prepared:
    """The inputs for a photo, or the detection with the error."""
    if isinstance(source, ModelInputs):
        return replace(source, pixels=source.pixels.to(model.dtype))
    photo = None
    try:
        photo = _photo(source)
        return ModelInputs.from_photo(photo, processor, model.dtype)
    except (ValueError, OSError) as error:
        return Detection(photo if isinstance(photo, Image.Image) else None, error=error)


def _photo(source: Photo | str | Path | Callable[[], Photo]) -> Photo:
    if isinstance(source, Image.Image | PhotoFile):
        return source
    return PhotoFile(source) if isinstance(source, str | Path) else source()
