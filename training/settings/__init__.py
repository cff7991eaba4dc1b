"""Every training setting: dataclass, recipes, limits, command line."""
