"""The process that compares formulas with math-verify. Run by `foveal.reward.symbolic`, never imported.

One request a line, `[gold, answer]` as JSON; one reply a line, `true` or `false`; first of all the line `ready`.

math-verify stops long computations with SIGALRM, which only works in a main thread and not inside a long operation of
C code. Here the kernel ends the whole process when a request has used up its processor time, and the parent goes on.
"""

import json
import logging
import resource
import signal
import sys

from math_verify import LatexExtractionConfig, parse, verify

MEMORY_BYTES = 4 << 30


def equal(gold: str, answer: str) -> bool:
    """Whether two formulas are the same; each is read as one formula from end to end."""
    config = [LatexExtractionConfig(boxed_match_priority=0)]

    def read(text: str) -> list[object]:
        return list(parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None))

    return bool(verify(read(gold), read(answer), timeout_seconds=None))


def main(cpu_seconds: float) -> None:
    """Answer requests until the input ends."""
    logging.disable()  # math-verify warns that nobody keeps the time
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    replies, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no reply
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            same = equal(gold, answer)
        except (Exception, RecursionError, MemoryError):
            same = False  # whatever sympy stumbles over is no formula that is known to be equal
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(same), file=replies, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
