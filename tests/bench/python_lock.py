"""multiprocessing.Lock: python_lock.py pair|contended|handoff SECONDS. One line of JSON."""

import json
import multiprocessing
import os
import sys
import time

LOOKS = 64


def pin(core):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def pairs(lock, start, seconds, me, result):
    pin(me)
    start.wait()
    begin = time.monotonic()
    done = 0
    while time.monotonic() - begin < seconds:
        for _ in range(LOOKS):
            lock.acquire()
            lock.release()
        done += LOOKS
    result[me] = done / (time.monotonic() - begin)


def turns(lock, start, seconds, me, result, turn):
    pin(me)
    start.wait()
    begin = time.monotonic()
    done = 0
    while time.monotonic() - begin < seconds:
        for _ in range(LOOKS):
            with lock:
                if turn.value == me:
                    turn.value = 1 - me
                    done += 1
    result[me] = done / (time.monotonic() - begin)


def main():
    work, seconds = sys.argv[1], float(sys.argv[2])
    context = multiprocessing.get_context("fork")
    sides = 1 if work == "pair" else 2
    lock, start = context.Lock(), context.Barrier(sides)
    result, turn = context.Array("d", sides), context.Value("i", 0, lock=False)
    body, more = (turns, (turn,)) if work == "handoff" else (pairs, ())
    processes = [context.Process(target=body, args=(lock, start, seconds, me, result, *more))
                 for me in range(sides)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(json.dumps({"per_s": sum(result), "ns": 1e9 * sides / max(sum(result), 1e-9)}))


if __name__ == "__main__":
    main()
