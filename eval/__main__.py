"""python -m eval: see `python -m eval --help`."""

import logging
import sys
import warnings
from typing import TYPE_CHECKING

from eval.config import EvalConfig, parse

if TYPE_CHECKING:
    from datasets import Dataset

    from eval.evaluate import Result


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    config = parse(argv)
    logging.disable(logging.WARNING)  # the libraries' remarks; their errors still show
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _run(config)
    except (OSError, ValueError) as error:
        print(f"eval: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        logging.disable(logging.NOTSET)


def _run(config: EvalConfig) -> int:
    # Here and not above, as below: they take seconds, which --help need not wait for.
    from eval.report import line, show, write
    from eval.targets import home

    results, rows = _of_files(config) if config.predictions else _of_models(config)
    show(results)
    if config.out or not config.predictions:
        write(results, rows, home(config))
    print(line(results))
    return 0


def _of_files(config: EvalConfig) -> tuple[list["Result"], "Dataset | None"]:
    from eval.answers import truth_of
    from eval.evaluate import evaluate
    from eval.predictions import read
    from nutrition_vl.data import load_split

    rows = load_split(config.data, config.split, config.limit) if config.data else None
    truths = truth_of(rows) if rows is not None else None
    answers = [read(file, truths, config.data) for file in config.predictions]
    return [evaluate(found) for found in answers], rows


def _of_models(config: EvalConfig) -> tuple[list["Result"], "Dataset"]:
    from eval.evaluate import evaluate
    from eval.sweep import sweep
    from eval.targets import targets
    from nutrition_vl.data import DATASET, load_split

    plan = targets(config)
    rows = load_split(config.data or DATASET, config.split, config.limit)
    found = sweep(plan, rows, config)
    return [evaluate(*row) for row in zip(found, plan, strict=True)], rows


if __name__ == "__main__":
    sys.exit(main())
