"""`python -m training`: trains adapters, after checking that everything is right.

exit codes: 0 trained (or stopped by SIGTERM after saving), 1 the run itself failed, 2 something has
to be put right first
"""

import sys

from nutrition_vl.cli import guarded


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    if {"-h", "--help"} & {*(sys.argv[1:] if arguments is None else arguments)}:
        from training.settings.own import short_help

        print(short_help(), end="")
        return 0
    return guarded("training", lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int:
    import torch

    from training.settings.cli import parse

    try:
        config = parse(arguments)
        from training.run.train import train

        train(config)
    except torch.OutOfMemoryError:
        from training.plan.choose import smaller_setting

        return _failed(f"the GPU's memory is full: use {smaller_setting(config)}")
    except FloatingPointError as error:
        return _failed(str(error))
    except (OSError, ValueError) as error:
        raise ValueError(_sentence(str(error))) from error
    return 0


def _failed(reason: str) -> int:
    print(f"training: {reason}", file=sys.stderr)
    return 1


def _sentence(reason: str) -> str:
    lines = [line.strip() for line in reason.strip().splitlines()]
    if lines and lines[0].startswith("Caught "):  # by PyTorch in a data loader's process
        return lines[-1].partition(": ")[2]  # behind its stack the kind of error and its words
    return " ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
