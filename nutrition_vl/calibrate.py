"""Makes an adapter's confidences mean what they say, on labelled photos it has not seen.

examples:
  python -m training.render --count 800 --out rendered --split val --seed 5000000
  python -m nutrition_vl.calibrate --data rendered
  python -m nutrition_vl.calibrate --checkpoint runs/qlora --data photos/ --split dev --check

A box is right if it covers a true one at an IoU of 0.5 and no other box does that better. Fitted by
isotonic regression and saved beside the adapter as calibration.json, which every later detection
reads, with the reliability diagram as calibration.png. --check fits and writes nothing, it only
tells how good the confidences are. The last line on stdout is one JSON object.
"""

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import supervision as sv
from datasets import Dataset
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from nutrition_vl.checkpoints import resolve
from nutrition_vl.confidence import Calibration, calibration_error, reliability
from nutrition_vl.data import load_split, truth
from nutrition_vl.detector import Detector

IOU = 0.5
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
