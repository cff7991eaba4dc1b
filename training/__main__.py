"""`python -m training`: trains adapters, after checking that everything is right.

exit codes: 0 trained (or stopped by SIGTERM after saving), 1 the run itself failed, 2 something has
to be put right first
"""

import logging
import sys
import warnings

from nutrition_vl.running.threads import share_cores


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    if {"-h", "--help"} & {*(sys.argv[1:] if arguments is None else arguments)}:
        from training.settings.own import short_help

        print(short_help(), end="")
        return 0
    share_cores()
    # Libraries' remarks are for programmers; our readers' remarks on data are for users.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    import torch
    from transformers.utils.logging import set_verbosity_error

    from training.settings.cli import parse

    set_verbosity_error()

    try:
        config = parse(arguments)
        from training.run.train import train

        train(config)
    except torch.OutOfMemoryError:
        from training.plan.choose import smaller_setting

        return _stop(f"the GPU's memory is full: use {smaller_setting(config)}", 1)
    except FloatingPointError as error:
        return _stop(str(error), 1)
    except (OSError, ValueError) as error:
        return _stop(str(error), 2)
    except KeyboardInterrupt:
        return 130
    return 0


def _stop(reason: str, code: int) -> int:
    lines = [line.strip() for line in reason.strip().splitlines()]
    if lines and lines[0].startswith("Caught "):  # by PyTorch in a data loader's process
        lines = [lines[-1].partition(": ")[2]]  # behind its stack the kind of error and its words
    print(f"training: {' '.join(lines)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
