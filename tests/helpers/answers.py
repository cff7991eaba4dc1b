"""Small splits with true and predicted boxes, for tests of numbers."""

import numpy as np

from eval.metrics.average_precision import average_precision
from eval.metrics.measures import tally
from eval.metrics.pairing import pair
from eval.predictions.predictions import Answers, Prediction, Truth, join
from nutrition_vl.boxes import LABELS

TABLE, TEXT = LABELS[:2]
LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 60, 10]
HALF_OF_LEFT = [0, 0, 10, 5]  # IoU 0.5 with LEFT
MOST_OF_LEFT = [0, 0, 10, 8]  # IoU 0.8 with LEFT
FAR = [80, 80, 90, 90]


def answers(*photos, malformed=0, seconds=float("nan")) -> Answers:
    """Photos of 100 x 100 as (true boxes, found boxes, confidences)."""
    truths, found = [], []
    for number, (true, boxes, *sure) in enumerate(photos):
        name = f"photo{number}"
        truths.append(Truth(name, 100, 100, true, [TABLE] * len(true)))
        scores = sure[0] if sure else [1.0] * len(boxes)
        labels = [TABLE] * len(boxes)
        found.append(Prediction(name, boxes, labels, scores, "here", malformed, seconds))
    return join("row", truths, found)


def paired(row: Answers):
    return row, pair(row)


def scores(*photos, **more):
    return tally(answers(*photos, **more)).scores()


def random_answers(photos=40, seed=3, longest=40) -> Answers:
    draw = np.random.default_rng(seed)
    truths, found = [], []
    for number in range(photos):
        corner = draw.uniform(0, 60, (draw.integers(0, 4), 2))
        true = np.hstack([corner, corner + draw.uniform(10, longest, corner.shape)])
        near = true + draw.normal(0, 2.5, true.shape)
        far = np.sort(draw.uniform(0, 100, (draw.integers(0, 3), 2, 2)), axis=1).reshape(-1, 4)
        boxes = np.vstack([near, far])
        kinds = [str(kind) for kind in draw.choice([TABLE, TEXT], len(true))]
        guessed = [str(kind) for kind in draw.choice([TABLE, TEXT], len(boxes))]
        truths.append(Truth(str(number), 100, 100, true.tolist(), kinds))
        sure = draw.uniform(size=len(boxes)).tolist()
        found.append(Prediction(str(number), boxes.tolist(), guessed, sure, "here"))
    return join("random", truths, found)


def numbers(row: Answers) -> list[float]:
    return list(average_precision(*paired(row)).scores().values())
