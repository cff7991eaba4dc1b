"""`python -m training … then -m eval …` in one process, so that two of them start only once."""

import runpy
import sys

if __name__ == "__main__":
    words = sys.argv[1:]
    cut = words.index("then")
    for module, *options in (words[:cut], words[cut + 1 :]):
        sys.argv = [module, *options]
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if ended.code:
                raise
