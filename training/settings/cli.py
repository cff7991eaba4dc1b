"""Parses settings from the command line and the YAML file of --config."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from copy import copy
from types import MappingProxyType
from typing import Any

from trl import SFTConfig, TrlParser

from training.settings.config import TrainConfig
from training.settings.limits import check_file
from training.settings.own import DESCRIPTION, USAGE
from training.settings.unused import UNUSED


class _Parser(TrlParser):
    """TRL's parser (strict, YAML by --config): help lists our settings first, no unused ones."""

    def _add_dataclass_arguments(self, dtype: Any) -> None:
        self._first = self.add_argument_group("settings of this training")
        self._action_groups.insert(0, self._action_groups.pop())
        super()._add_dataclass_arguments(dtype)
        self.add_argument("--config", metavar="FILE", help="YAML file of settings")

    def _parse_dataclass_field(self, parser: Any, field: dataclasses.Field) -> None:
        own = field.name not in SFTConfig.__dataclass_fields__
        if field.name in UNUSED:
            field = copy(field)
            field.metadata = MappingProxyType(field.metadata | {"help": argparse.SUPPRESS})
        super()._parse_dataclass_field(self._first if own else parser, field)


def parse(arguments: Sequence[str] | None = None) -> TrainConfig:
    """The settings of a command line and its YAML file; ValueError for an unknown one."""
    given = sys.argv[1:] if arguments is None else arguments
    # TRL's parser looks for --config FILE only, and would not read the file of --config=FILE.
    split = [part for word in given for part in _halves(word)]
    split = ["--help" if word == "--help_all" else word for word in split]
    parser = _Parser(
        (TrainConfig,),
        prog="python -m training",
        usage=USAGE,
        description=DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check_file(split)
    config, *_, unknown = parser.parse_args_and_config(split, return_remaining_strings=True)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]}: python -m training --help lists them")
    config.command = shlex.join(["python", "-m", "training", *given])
    return config


def _halves(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--config=") else [word]
