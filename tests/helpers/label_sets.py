"""Small labelled sets in the formats of other tools, and what is read of them."""

import json

from PIL import Image

from nutrition_vl.data.load import load_split

TABLE = "nutrition-table"
BOX = [20, 10, 120, 60]  # of a photo of 200 x 100


def photo(file, size=(200, 100), orientation=None):
    """Writes a photo of this stored size with an EXIF orientation."""
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", size, "red").save(file, exif=exif)
    return file


def write(file, content):
    """Writes text, or anything else as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    file.write_text(text, encoding="utf-8")
    return file


def image(key=1, name="a.jpg", size=(200, 100)):
    """An entry of COCO's images."""
    sides = {} if size is None else {"width": size[0], "height": size[1]}
    return {"id": key, "file_name": name} | sides


def mark(photo_id=1, box=(20, 10, 100, 50), category=1, **more):
    """An entry of COCO's annotations, by default BOX."""
    return {"id": 1, "image_id": photo_id, "category_id": category, "bbox": list(box)} | more


def coco(folder, images=None, marks=None, names=(TABLE,), name="c.json", **more):
    """A COCO file, by default of one photo with one table; category ids count from 1."""
    content = {
        "images": [image()] if images is None else images,
        "annotations": [mark()] if marks is None else marks,
        "categories": [{"id": key, "name": one} for key, one in enumerate(names, 1)],
    }
    return write(folder / name, content | more)


def voc(file, name="a.jpg", label=TABLE, box=BOX, size=(200, 100), head="", more=""):
    """A Pascal VOC file, by default of one table at BOX."""
    x0, y0, x1, y1 = box
    sides = zip(("xmin", "ymin", "xmax", "ymax"), (x0 + 1, y0 + 1, x1, y1), strict=True)
    corners = "".join(f"<{side}>{number}</{side}>" for side, number in sides)
    stored = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return write(
        file,
        f"{head}<annotation><filename>{name}</filename>{stored}{more}"
        f"<object><name>{label}</name><bndbox>{corners}</bndbox></object></annotation>",
    )


def yolo(folder, config=f"val: images/val\nnames: [{TABLE}]\n", line="0 0.35 0.35 0.5 0.5\n"):
    """A YOLO set, by default of one photo with BOX."""
    photo(folder / "images/val/a.jpg")
    write(folder / "labels/val/a.txt", line)
    write(folder / "data.yaml", config)
    return folder


def read(source, split="val", **more):
    """Boxes by photo, and the skipped entries by name."""
    skipped = []
    rows = load_split(source, split, skipped=skipped, **more)
    boxes = {
        name: [[round(number, 1) for number in box] for box in xyxy]
        for name, xyxy in zip(rows["id"], rows["xyxy"], strict=True)
    }
    return boxes, {entry.id: entry.error for entry in skipped}
