"""Reads Pascal VOC: one XML file per photo."""

from pathlib import Path
from xml.etree import ElementTree

from nutrition_vl.data.rows import Sample, choose, read_text


def read_voc(folder: Path, split: str) -> list[Sample]:
    """Pascal VOC: Annotations, JPEGImages, ImageSets/Main/SPLIT.txt, or each .xml beside its photo.

    Read here and not by supervision (0.31), which decodes every photo to do so.
    """
    lists = {file.stem: file for file in folder.glob("ImageSets/Main/*.txt")}
    named = set(read_text(lists[choose(split, lists, folder)]).split()) if lists else None
    files = sorted([*folder.glob("Annotations/*.xml"), *folder.glob("*.xml")])
    return [_voc_sample(file, folder) for file in files if named is None or file.stem in named]


def _voc_sample(file: Path, folder: Path) -> Sample:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{file} is not XML: {error}") from error
    photos = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else file.parent
    objects = root.findall("object")
    try:
        # Pixels count from 1 and both ends belong to the box, so only the first corner moves.
        boxes = [
            [
                float(found.findtext(f"bndbox/{side}", ""))
                for side in ("xmin", "ymin", "xmax", "ymax")
            ]
            for found in objects
        ]
    except ValueError as error:
        raise ValueError(f"{file} has an object without four numbers in its bndbox") from error
    return Sample(
        id=file.stem,
        image=str(photos / root.findtext("filename", f"{file.stem}.jpg")),
        xyxy=[[x0 - 1, y0 - 1, x1, y1] for x0, y0, x1, y1 in boxes],
        labels=[found.findtext("name", "") for found in objects],
        normalized=False,
    )
