#!/usr/bin/python3
"""Fenced puts over gRPC: of one message, of several, and of the batches of a Produce stream."""

import queue
import time
import unittest

import grpc

from wire import Connection, Session, details, locks, queues, types


class Fences(unittest.TestCase):
    def setUp(self):
        self.connection = Connection()
        self.addCleanup(self.connection.channel.close)
        self.name = self.id().rsplit(".", 1)[1]
        self.session = Session(self.connection)
        self.addCleanup(self.session.close)

    def grant(self):
        """A fence with the token of a new grant; the lock is free again."""
        token = self.connection.lock.Acquire(
            locks.LockServiceAcquireRequest(name=self.name),
            metadata=self.session.metadata).grant.token
        self.connection.lock.Release(locks.LockServiceReleaseRequest(name=self.name),
                                     metadata=self.session.metadata)
        return types.Fence(lock=self.name, token=token)

    def produce(self):
        """The requests and the answers of a stream."""
        requests = queue.Queue()
        self.addCleanup(requests.put, None)
        return requests, self.connection.queue.Produce(iter(requests.get, None))

    @staticmethod
    def batch(*texts, **fields):
        return queues.QueueServiceProduceRequest(
            messages=[types.Message(text=text) for text in texts], **fields)

    def contents(self):
        got = self.connection.queue.GetMany(queues.QueueServiceGetManyRequest(
            name=self.name, max_messages=100, timeout_ms=0))
        return "".join(delivery.message.text for delivery in got.deliveries)

    def refused(self, call, reason, *words):
        with self.assertRaises(grpc.RpcError) as failed:
            call()
        info = details(failed.exception)["ErrorInfo"]
        self.assertEqual(info.reason, reason)
        for word in words:
            self.assertIn(str(word), failed.exception.details())
        return failed.exception.code(), info

    def test_a_late_batch_is_refused(self):
        self.connection.create(self.name)
        old = self.grant()
        requests, answers = self.produce()
        requests.put(self.batch("a", "b", name=self.name, fence=old, want_ids=True))
        first = next(answers)
        self.assertEqual((first.outcome, first.done, len(first.ids)), (types.OUTCOME_OK, 2, 2))
        new = self.grant()
        requests.put(self.batch("c", fence=new))
        self.assertEqual(next(answers).done, 1)
        requests.put(self.batch("d"))  # each batch is fenced for itself
        self.assertEqual(next(answers).done, 1)
        requests.put(self.batch("e", "f", fence=old))
        code, info = self.refused(lambda: next(answers), "STALE_FENCE", self.name, old.token,
                                  new.token)
        self.assertEqual(code, grpc.StatusCode.FAILED_PRECONDITION)
        self.assertEqual((info.metadata["limit"], info.metadata["actual"]),
                         (str(new.token), str(old.token)))
        self.assertEqual(self.contents(), "abcd")

    def test_batches_before_it_are_answered(self):
        self.connection.create(self.name)
        old, new = self.grant(), self.grant()
        requests, answers = self.produce()
        requests.put(self.batch("a", name=self.name, fence=new))
        requests.put(self.batch("b"))
        requests.put(self.batch("late", fence=old))
        requests.put(self.batch("behind it"))
        self.assertEqual([next(answers).done, next(answers).done], [1, 1])
        self.refused(lambda: next(answers), "STALE_FENCE")
        self.assertEqual(self.contents(), "ab")

    def test_while_it_waits_for_room_the_lock_moves_on(self):
        self.connection.create(self.name, max_len=2)
        old = self.grant()
        requests, answers = self.produce()
        requests.put(self.batch("a", "b", "c", name=self.name, fence=old))
        deadline = time.monotonic() + 20
        while self.connection.counts(self.name).ready < 2:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        new = self.grant()
        self.assertEqual(self.contents(), "ab")  # room for the third
        self.assertEqual(next(answers).done, 2)  # what was put before stays
        self.refused(lambda: next(answers), "STALE_FENCE", old.token, new.token)
        self.assertEqual(self.contents(), "")

    def test_a_token_that_was_not_granted(self):
        self.connection.create(self.name)
        fence = self.grant()
        for token, reason in ((fence.token + 1, "INVALID_ARGUMENT"), (0, "INVALID_ARGUMENT")):
            requests, answers = self.produce()
            requests.put(self.batch("x", name=self.name,
                                    fence=types.Fence(lock=self.name, token=token)))
            self.refused(lambda answers=answers: next(answers), reason, self.name)
        self.assertEqual(self.contents(), "")

    def test_all_ways_to_put_know_what_was_shown(self):
        self.connection.create(self.name)
        old, new = self.grant(), self.grant()
        requests, answers = self.produce()
        requests.put(self.batch("a", name=self.name, fence=new))
        self.assertEqual(next(answers).done, 1)
        self.connection.lock.Delete(locks.LockServiceDeleteRequest(name=self.name))
        # The lock is gone; the queue was shown the newer token, by a stream.
        self.refused(lambda: self.connection.put(self.name, "b", fence=old), "STALE_FENCE")
        self.refused(lambda: self.connection.queue.PutMany(queues.QueueServicePutManyRequest(
            name=self.name, messages=[types.Message(text="c")], fence=old)), "STALE_FENCE")
        self.connection.put(self.name, "d", fence=new)
        self.assertEqual(self.contents(), "ad")


if __name__ == "__main__":
    unittest.main(verbosity=2)
