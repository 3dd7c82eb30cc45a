"""Every call from eight threads at once, each of which must give what it gives alone: threads.py [SECONDS]"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from calls import calls, digest

THREADS = 8


def main(seconds: float) -> int:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        operations = list(calls(120, 8, 24, folder).items())
        alone = {name: digest(call()) for name, call in operations}
        end, done, wrong = time.monotonic() + seconds, [0] * THREADS, list[str]()

        def work(t: int) -> None:
            while time.monotonic() < end or done[t] < len(operations):
                name, call = operations[(done[t] + 5 * t) % len(operations)]
                if digest(call()) != alone[name]:
                    wrong.append(name)
                done[t] += 1

        threads = [threading.Thread(target=work, args=(t,)) for t in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{THREADS} threads, {sum(done)} calls of {len(operations)} kinds, {len(wrong)} other answers", *wrong[:5])
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
