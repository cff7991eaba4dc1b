"""Reads YOLO data sets by Ultralytics' rules: data.yaml, photos, one label file per photo.

supervision's reader (0.31) is not used: it sorts class names, skips photo formats and takes a
label file that it does not find for a photo without objects.
"""

import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from nutrition_vl.data.formats.yolo_labels import (
    CLASS_LISTS,
    label_files,
    label_folders,
    read_labels,
    require_centres,
    without_doubtful,
)
from nutrition_vl.data.paths import (
    files_below,
    is_elsewhere,
    is_photo,
    locate,
    photo_suffixes,
    posix,
    split_folder,
)
from nutrition_vl.data.rows import SPLITS, Sample, Skipped, attempt, choose, read_text, require

logger = logging.getLogger(__name__)


def find_yolo(folder: Path) -> Path | None:
    """The file of a folder that names its classes; ValueError where several may."""
    configs = [file for file in sorted(folder.glob("*.y*ml")) if "names" in _load(file, True)]
    if (folder / "data.yaml").is_file():
        return folder / "data.yaml"
    places = ("", "*/")  # labelImg writes a list into each folder of label files
    lists = [file for name in CLASS_LISTS for at in places for file in folder.glob(at + name)]
    unlike = len({read_text(file).strip() for file in lists}) > 1
    if len(configs) > 1 or (not configs and unlike):
        names = ", ".join(str(file.relative_to(folder)) for file in configs or sorted(lists))
        raise ValueError(f"{folder} has several YOLO configurations ({names}): name one of them")
    return next(iter([*configs, *lists]), None)


def read_yolo(
    file: Path, split: str, skipped: list[Skipped] | None = None, folder: Path | None = None
) -> list[Sample]:
    """The photos of a split of data.yaml, or of a `folder` with a list of its classes.

    Raises ValueError where no photo of the split has a label file.
    """
    top = folder or file.parent
    config = _config(file, top)
    names = _class_names(config["names"], file)
    if config.get("nc") not in (None, len(names)):
        raise ValueError(f"{file} names {len(names)} classes and says nc: {config['nc']}")
    photos = _photos(file, top, config, split)
    labels = label_files(photos)
    _require_labels(photos, labels, file, split)
    photos = without_doubtful(photos, labels, skipped)
    base = Sample("", "", [], [], classes=frozenset(names.values()))
    pose = "kpt_shape" in config
    read = [
        attempt(skipped, photo.name, read_labels, photo, labels.get(photo), names, base, pose)
        for photo in photos
    ]
    samples = [sample for sample in read if sample]
    require_centres(samples, file)
    return samples


def class_names(file: Path) -> dict[int, str]:
    """The class names by their numbers in label files."""
    return _class_names(_config(file, file.parent)["names"], file)


def _config(file: Path, top: Path) -> Mapping[str, Any]:
    config = _load(file) if file.suffix in (".yaml", ".yml") else _of_list(file, top)
    require(("names",), config, file)
    return config


def _load(file: Path, lenient: bool = False) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if lenient:
            return {}
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} is not YAML: {reason}") from error
    return content if isinstance(content, Mapping) else {}


def _of_list(file: Path, top: Path) -> dict[str, Any]:
    """A configuration of a list of classes, and of Darknet's lists of each split's photos."""
    names = [line.strip() for line in read_text(file).split("\n") if line.strip()]
    lists = {name: f"{name}.txt" for name in SPLITS if (top / f"{name}.txt").is_file()}
    return lists | {"names": names}


def _class_names(names: object, file: Path) -> dict[int, str]:
    """Class ids as the file maps them: a list counts from 0, a mapping says its own ids."""
    pairs = (
        list(names.items() if isinstance(names, Mapping) else enumerate(names))
        if isinstance(names, Mapping | list)
        else []
    )
    ids = [str(key).strip() for key, _ in pairs]
    if not pairs or not all(key.isdecimal() for key in ids) or len(set(map(int, ids))) < len(ids):
        raise ValueError(f"{file}: names must be a list, or map class ids to names, not {names!r}")
    if not all(isinstance(name, str | int | float) for _, name in pairs):
        raise ValueError(f"{file}: names must be text, not {names!r}")
    return {int(key): str(name).strip() for key, (_, name) in zip(ids, pairs, strict=True)}


def _photos(file: Path, top: Path, config: Mapping[str, Any], split: str) -> list[Path]:
    keys = [key for key in SPLITS if config.get(key)]
    if not keys:
        images = top / "images"
        places = [split_folder(images if images.is_dir() else top, split)]
    else:
        key = choose(split, keys, file)
        places = _places(file, top, config, key)
        _require_own_folders(file, top, config, key, keys, places)
    photos = [photo for place in places for photo in _photos_of(place, top, config)]
    return sorted(dict.fromkeys(photos))


def _places(file: Path, top: Path, config: Mapping[str, Any], key: str) -> list[Path]:
    named = config[key]
    listed = named if isinstance(named, list) else [named]
    return [
        _place(file, top, posix(str(config.get("path") or "")), posix(str(one))) for one in listed
    ]


def _place(file: Path, folder: Path, root: str, named: str) -> Path:
    """The folder or list of photos that the file names, here or by its tail below the file."""
    # Roboflow's exports say ../train/images of the folder train/images next to data.yaml.
    for candidate in (folder / root / named, folder / named, folder / named.removeprefix("../")):
        if candidate.exists():
            return candidate
    whole = named if is_elsewhere(named) else f"{root}/{named}"
    if is_elsewhere(whole):
        parts = [part for part in PurePosixPath(whole).parts if part != ".."]
        for start in range(1, len(parts)):
            if folder.joinpath(*parts[start:]).exists():
                return folder.joinpath(*parts[start:])
    raise FileNotFoundError(f"{file} names {named}, and there is no such folder or list of photos")


def _require_own_folders(
    file: Path, top: Path, config: Mapping[str, Any], key: str, keys: list[str], places: list[Path]
) -> None:
    """ValueError where two splits of different names come out as one folder."""
    for other in keys:
        if other == key or config[other] == config[key]:
            continue
        try:
            same = set(places) & set(_places(file, top, config, other))
        except FileNotFoundError:
            continue
        if same:
            raise ValueError(
                f"{file} names {config[key]} for {key} and {config[other]} for {other}, and both "
                f"come out as {same.pop()}: write folders that exist"
            )


def _photos_of(place: Path, top: Path, config: Mapping[str, Any]) -> list[Path]:
    if place.is_dir():
        return files_below(place, photo_suffixes())
    if is_photo(place):
        return [place]
    names = [line for line in read_text(place).split("\n") if line.strip()]
    if not (top / "data").is_dir():  # Darknet keeps every set in a folder of that name
        names = [posix(name).removeprefix("data/") for name in names]
    root = top / posix(str(config.get("path") or ""))
    return locate(names, [root, top, place.parent, Path()])


def _require_labels(photos: list[Path], labels: dict[Path, Path], file: Path, split: str) -> None:
    if not photos:
        raise ValueError(f"{file} holds no photos of split {split}")
    if not labels:
        folders = " nor ".join(str(folder) for folder in label_folders(photos[0].parent))
        raise ValueError(
            f"{file}: none of the {len(photos)} photos of split {split} has a label file: "
            f"neither {folders} holds {photos[0].stem}.txt"
        )
    if bare := [photo for photo in photos if photo not in labels]:
        logger.warning(
            "%s: %d of %d photos of split %s have no label file (the first is %s): "
            "read as photos without a table",
            file, len(bare), len(photos), split, bare[0].name,
        )  # fmt: skip
