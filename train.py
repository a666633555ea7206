"""Train a model, or evaluate one: python train.py [fit|validate|test|predict|...] --config configs/digits.yaml."""

import os
import sys
import time


def main(words: list[str]) -> int:
    """Run one command.

    Args:
        words: What was typed after `train.py`.

    Returns:
        The exit code: 0 if all went well, 2 for a mistake in what was typed or configured, 1 for a failure.
    """
    start = time.time()
    from src.command_line import CommandLine  # imported here: loader workers import this file again
    from src.config import UsageError
    from src.request import Request

    try:
        line = CommandLine.parse(words)
        request = Request.build(line)
        if line.command == "repeat":
            from src.commands.repeat import repeat

            return repeat(line, request)
        os.environ.setdefault("MPLBACKEND", "agg")  # figures are drawn for files, not for a window
        from src.session import run  # torch and Lightning take seconds: only when all is well so far

        return run(line, request, start)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while torch was imported
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
