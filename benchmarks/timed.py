# SPDX-License-Identifier: MIT
"""Run a command, and print the seconds until it ends or says a word.

    python timed.py WORD COMMAND...

With a word it is ended when a line has that; without (``""``) it has to succeed.
"""

import subprocess
import sys
import time


def main() -> int:
    """Run it; return 1 where it fails, or ends without the word."""
    word, *command = sys.argv[1:]
    begin_s = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if word and word.encode() in line:
                print(time.perf_counter() - begin_s)
                process.kill()
                return 0
        status = process.wait()
        print(time.perf_counter() - begin_s)
    return int(bool(word) or status != 0)


if __name__ == "__main__":
    sys.exit(main())
