"""multiprocessing.Manager().dict(): python_dict.py get|put SECONDS. One line of JSON."""

import json
import multiprocessing
import sys
import time

KEYS, VALUE_BYTES, LOOKS = 10_000, 64, 16


def main():
    work, seconds = sys.argv[1], float(sys.argv[2])
    keys = [b"key %08d" % i for i in range(KEYS)]
    value = b"v" * VALUE_BYTES
    with multiprocessing.Manager() as manager:
        table = manager.dict({key: value for key in keys})
        done = 0
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            for _ in range(LOOKS):
                key = keys[done * 7919 % KEYS]
                if work == "put":
                    table[key] = value
                elif len(table[key]) != VALUE_BYTES:
                    raise ValueError("another value")
                done += 1
        print(json.dumps({"ns": (time.monotonic() - begin) / done * 1e9}))


if __name__ == "__main__":
    main()
