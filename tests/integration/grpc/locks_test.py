#!/usr/bin/python3
"""Locks over gRPC as others meet them: sessions, request ids, cancellation, loss, abuse.

Run under with_daemon.
"""

import os
import signal
import time
import unittest

import grpc

from wire import Connection, Session, admin, details, locks, types


class Locks(unittest.TestCase):
    def setUp(self):
        self.connection = Connection()
        self.addCleanup(self.connection.channel.close)
        self.stub = self.connection.lock
        self.name = self.id().rsplit(".", 1)[1]

    def session(self, connection=None, **options):
        session = Session(connection or self.connection, **options)
        self.addCleanup(session.close)
        return session

    def acquire(self, session, name="", stub=None, **fields):
        request = locks.LockServiceAcquireRequest(name=name or self.name, **fields)
        return (stub or self.stub).Acquire.future(request,
                                                  metadata=session.metadata if session else None)

    def release(self, session, name="", **fields):
        return self.stub.Release(locks.LockServiceReleaseRequest(name=name or self.name, **fields),
                                 metadata=session.metadata if session else None)

    def inspect(self, name="", kind=0):
        return self.stub.Inspect(locks.LockServiceInspectRequest(name=name or self.name,
                                                                 kind=kind)).lock

    def create(self, kind, name="", **options):
        return self.stub.Create(locks.LockServiceCreateRequest(
            name=name or self.name, kind=kind, options=locks.LockOptions(**options)))

    def wait_until(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.01)

    def waiting(self, count, name=""):
        self.wait_until(lambda: len(self.inspect(name).waiters) == count)

    def refused(self, reason, code, call):
        with self.assertRaises(grpc.RpcError) as failed:
            call()
        info = details(failed.exception)["ErrorInfo"]
        self.assertEqual((info.reason, failed.exception.code()), (reason, code))
        return failed.exception.details(), info

    def test_holders_are_named_and_the_next_is_served(self):
        one, two = self.session(), self.session()
        first = self.acquire(one, timeout_ms=0).result()
        self.assertEqual(first.outcome, types.OUTCOME_OK)
        self.assertEqual(self.acquire(two, timeout_ms=0).result().outcome, types.OUTCOME_EMPTY)
        self.assertEqual(self.acquire(two, timeout_ms=30).result().outcome,
                         types.OUTCOME_TIMED_OUT)
        waiter = self.acquire(two)
        self.waiting(1)
        seen = self.inspect()
        self.assertEqual([seen.holders[0].peer.owner, seen.waiters[0].peer.owner],
                         [one.owner, two.owner])
        self.assertEqual((seen.holders[0].peer.pid, seen.holders[0].peer.plane),
                         (os.getpid(), "grpc"))
        self.assertTrue(seen.locked)
        self.assertEqual(self.release(one).outcome, types.OUTCOME_OK)
        self.assertEqual(waiter.result().grant.token, first.grant.token + 1)
        self.assertEqual(self.release(two).outcome, types.OUTCOME_OK)

    def test_threads_of_a_session_are_owners_of_their_own(self):
        session = self.session()
        self.acquire(session, thread=1).result()
        self.assertEqual(self.acquire(session, thread=2, timeout_ms=0).result().outcome,
                         types.OUTCOME_EMPTY)
        self.assertEqual(self.release(session, thread=2).outcome, types.OUTCOME_LEASE_LOST)
        self.assertEqual(self.release(session, thread=1).outcome, types.OUTCOME_OK)

    def test_without_a_session_nothing_is_held(self):
        text, _ = self.refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT,
                               self.acquire(None).result)
        self.assertIn("SessionService/Open", text)
        self.refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT,
                     lambda: self.release(None))
        self.assertFalse(self.inspect().locked)
        event = self.id()
        self.stub.SetEvent(locks.LockServiceSetEventRequest(name=event))
        self.assertEqual(self.stub.WaitEvent(locks.LockServiceWaitEventRequest(name=event)).outcome,
                         types.OUTCOME_OK)

    def test_an_unknown_session_is_lost(self):
        class Nobody:
            metadata = (("heddle-session", "0" * 32),)
        self.refused("SESSION_LOST", grpc.StatusCode.FAILED_PRECONDITION,
                     self.acquire(Nobody).result)

    def test_abuse_is_refused_by_name(self):
        session = self.session()
        for fields in ({"thread": 1024}, {"kind": locks.SYNC_KIND_EVENT}, {"mode": 9},
                       {"kind": 77}, {"mode": locks.LOCK_MODE_SHARED}, {"request_id": "x" * 65}):
            self.refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT,
                         self.acquire(session, **fields).result)
        self.assertEqual(self.release(session).outcome, types.OUTCOME_LEASE_LOST)
        self.refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT,
                     lambda: self.release(session, thread=5000))
        self.create(locks.SYNC_KIND_SEMAPHORE, count=3)
        _, info = self.refused(
            "INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT,
            self.acquire(session, kind=locks.SYNC_KIND_SEMAPHORE, permits=2**32 - 1).result)
        self.assertEqual((info.metadata["limit"], info.metadata["actual"]), ("3", str(2**32 - 1)))
        self.assertEqual(self.release(session, kind=locks.SYNC_KIND_SEMAPHORE,
                                      permits=2**32 - 1).outcome, types.OUTCOME_LEASE_LOST)
        self.assertEqual(self.inspect(kind=locks.SYNC_KIND_SEMAPHORE).free, 3)
        self.refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND,
                     self.acquire(session, "no/such", kind=locks.SYNC_KIND_SEMAPHORE).result)
        wishes = [locks.LockWish(name=f"many/{i}") for i in range(65)]
        self.refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT,
                     lambda: self.stub.AcquireMany(
                         locks.LockServiceAcquireManyRequest(wishes=wishes),
                         metadata=session.metadata))

    def test_a_cancelled_wait_leaves_nothing(self):
        one, two = self.session(), self.session()
        self.acquire(one).result()
        for fields in ({}, {"request_id": "w"}):
            waiter = self.acquire(two, **fields)
            self.waiting(1)
            waiter.cancel()
            self.waiting(0)
        self.release(one)
        self.assertEqual(self.acquire(one, timeout_ms=0).result().outcome, types.OUTCOME_OK)

    def test_a_repeat_gets_the_same_grant(self):
        session = self.session()
        self.create(locks.SYNC_KIND_LOCK, lock_kind=locks.LockOptions.LOCK_KIND_RLOCK)
        tokens = {self.acquire(session, request_id="r1").result().grant.token for _ in range(3)}
        self.assertEqual(len(tokens), 1)
        for _ in range(3):  # a release that is repeated releases one entry
            self.assertEqual(self.release(session, request_id="r2").outcome, types.OUTCOME_OK)
        self.assertFalse(self.inspect().locked)
        # It is not held any more: the same id stands for a new grant.
        again = self.acquire(session, request_id="r1").result().grant.token
        self.assertNotIn(again, tokens)

    def test_a_repeat_takes_no_second_permit(self):
        session = self.session()
        self.create(locks.SYNC_KIND_SEMAPHORE, count=3)
        for request_id in ("a", "a", "b", "a"):
            self.acquire(session, kind=locks.SYNC_KIND_SEMAPHORE, request_id=request_id).result()
        self.assertEqual(self.inspect(kind=locks.SYNC_KIND_SEMAPHORE).free, 1)

    def test_a_repeat_joins_the_wait(self):
        one, two = self.session(), self.session()
        self.acquire(one).result()
        calls = [self.acquire(two, request_id="j") for _ in range(3)]
        self.waiting(1)
        calls[0].cancel()  # the others still wait
        time.sleep(0.1)
        self.assertEqual(len(self.inspect().waiters), 1)
        self.release(one)
        self.assertEqual(calls[1].result().grant, calls[2].result().grant)
        self.release(two)
        self.assertFalse(self.inspect().locked)

    def test_a_lost_reply_on_another_connection(self):
        other = Connection()
        session = self.session()
        token = self.acquire(session, stub=other.lock, request_id="c").result().grant.token
        other.channel.close()
        self.assertEqual(self.acquire(session, request_id="c").result().grant.token, token)
        self.release(session)

    def kill_broker(self, session):
        """Returns when the next one knows the session."""
        os.kill(self.connection.admin.Status(admin.AdminServiceStatusRequest()).pid,
                signal.SIGKILL)

        def resumed():
            try:
                return Session(Connection(), resume_token=session.token)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
                return None
        sessions_after = []
        self.wait_until(lambda: sessions_after.append(resumed()) or sessions_after[-1])
        self.addCleanup(sessions_after[-1].close)
        self.wait_until(self.alive)

    def test_a_killed_broker_knows_the_grant_of_a_mutex(self):
        session = self.session()
        token = self.acquire(session, request_id="k").result().grant.token
        self.kill_broker(session)
        self.assertEqual(self.acquire(session, request_id="k").result().grant.token, token)
        # Once: the next one is a mutex that waits for itself.
        self.assertEqual(self.acquire(session, request_id="l", timeout_ms=0).result().outcome,
                         types.OUTCOME_EMPTY)
        self.assertEqual(self.release(session).outcome, types.OUTCOME_OK)

    def test_a_killed_broker_knows_the_entries_of_a_rlock(self):
        session = self.session()
        self.create(locks.SYNC_KIND_LOCK, lock_kind=locks.LockOptions.LOCK_KIND_RLOCK)
        tokens = {self.acquire(session, request_id=name).result().grant.token for name in "ab"}
        self.kill_broker(session)
        tokens |= {self.acquire(session, request_id=name).result().grant.token for name in "bbc"}
        self.assertEqual(len(tokens), 1)
        self.assertEqual(self.release(session, request_id="r").outcome, types.OUTCOME_OK)
        self.kill_broker(session)
        # a, b and c, less r: which was done before, and is not done again.
        self.assertEqual([self.release(session, request_id=name).outcome for name in "rrst"],
                         [types.OUTCOME_OK] * 4)
        self.assertEqual(self.release(session).outcome, types.OUTCOME_LEASE_LOST)

    def alive(self):
        try:
            self.connection.admin.Status(admin.AdminServiceStatusRequest())
            return True
        except grpc.RpcError:
            return False

    def test_many_or_none(self):
        one, two = self.session(), self.session()
        names = [self.name + suffix for suffix in "cab"]
        wishes = [locks.LockWish(name=name) for name in names]

        def many(session, **fields):
            return self.stub.AcquireMany.future(
                locks.LockServiceAcquireManyRequest(wishes=wishes, **fields),
                metadata=session.metadata)
        got = many(one, request_id="m").result()
        self.assertEqual((got.outcome, len(got.grants)), (types.OUTCOME_OK, 3))
        self.assertEqual(many(one, request_id="m").result().grants, got.grants)
        self.assertEqual(many(two, timeout_ms=0).result().outcome, types.OUTCOME_EMPTY)
        self.assertEqual(many(two, timeout_ms=50).result().outcome, types.OUTCOME_TIMED_OUT)
        for name in names[1:]:
            self.release(one, name)
        waiter = many(two)
        self.waiting(1, names[0])
        # Who waits for one of them holds none of the others.
        self.assertEqual([self.inspect(name).locked for name in names], [True, False, False])
        waiter.cancel()
        self.waiting(0, names[0])
        self.release(one, names[0])
        self.assertEqual(many(two).result().outcome, types.OUTCOME_OK)
        self.assertEqual([self.inspect(name).locked for name in names], [True] * 3)

    def test_blocked_calls_cost_no_threads(self):
        def threads():
            pid = self.connection.admin.Status(admin.AdminServiceStatusRequest()).pid
            return len(os.listdir(f"/proc/{pid}/task"))
        one, two = self.session(), self.session()
        self.acquire(one).result()
        before = threads()
        calls = [self.acquire(two, thread=i) for i in range(300)]
        self.waiting(300)
        self.assertLessEqual(threads(), before + 4)
        self.release(one)
        served = set()  # in the order in which they came there, which is not that of their start

        def serve():
            for thread, call in enumerate(calls):
                if thread not in served and call.done():
                    self.assertEqual(call.result().outcome, types.OUTCOME_OK)
                    self.release(two, thread=thread)
                    served.add(thread)
            return len(served) == len(calls)
        self.wait_until(serve)

    def test_an_orderly_end_frees_at_once(self):
        one, two = self.session(), self.session()
        self.acquire(one).result()
        waiter = self.acquire(two)
        self.waiting(1)
        one.close()
        self.assertEqual(waiter.result(timeout=10).outcome, types.OUTCOME_OK)

    def test_a_deadlock_is_told_and_kept(self):
        one, two = self.session(), self.session()
        a, b = self.name + "/a", self.name + "/b"
        self.acquire(one, a).result()
        self.acquire(two, b).result()
        waits = [self.acquire(one, b), self.acquire(two, a)]
        self.wait_until(lambda: waits[0].done() or waits[1].done())
        loser = 0 if waits[0].done() else 1
        error = waits[loser].exception()
        self.assertEqual((details(error)["ErrorInfo"].reason, error.code()),
                         ("DEADLOCK_DETECTED", grpc.StatusCode.ABORTED))
        self.assertTrue(a in error.details() and b in error.details(), error.details())
        self.release(*((one, a), (two, b))[loser])
        self.assertEqual(waits[1 - loser].result().outcome, types.OUTCOME_OK)
        report = self.stub.Deadlocks(locks.LockServiceDeadlocksRequest()).report
        self.assertIn(a, str(report))

    def test_a_crowd_delays_no_report(self):
        """2,000 calls wait elsewhere, each by a thread that holds something: half of them for one
        lock, half in a chain, whose last member goes on."""
        holder, crowd, waits = 1023, 500, []
        last = self.session(lease_ms=120_000)
        for number in range(4):
            connection = Connection()
            self.addCleanup(connection.channel.close)
            guests = self.session(connection, lease_ms=120_000)

            def acquire(name, guests=guests, stub=connection.lock, **fields):
                return self.acquire(guests, self.name + "/" + name, stub=stub, **fields)
            prefix = f"{number}/"
            own = [acquire(prefix + str(thread), thread=thread) for thread in range(crowd)]
            own.append(acquire(f"one/{number}", thread=holder))
            own.append(self.acquire(last, f"{self.name}/{prefix}{crowd}"))
            for call in own:
                self.assertEqual(call.result().outcome, types.OUTCOME_OK)
            for thread in range(crowd):
                name = f"one/{number}" if number % 2 else prefix + str(thread + 1)
                waits.append(acquire(name, thread=thread))
        self.wait_until(lambda: all(
            len(self.inspect(f"{self.name}/one/{number}").waiters) == crowd for number in (1, 3)))
        a, b = self.name + "/a", self.name + "/b"
        one, two = self.session(lease_ms=120_000), self.session(lease_ms=120_000)
        ages = []
        for _ in range(5):
            self.acquire(one, a).result()
            self.acquire(two, b).result()
            pair = [self.acquire(one, b), self.acquire(two, a)]
            self.wait_until(lambda pair=pair: pair[0].done() or pair[1].done())
            loser = 0 if pair[0].done() else 1
            self.assertEqual(details(pair[loser].exception())["ErrorInfo"].reason,
                             "DEADLOCK_DETECTED")
            self.release(*((one, a), (two, b))[loser])
            self.assertEqual(pair[1 - loser].result().outcome, types.OUTCOME_OK)
            self.release(*((two, b), (one, a))[loser])
            self.release(*((two, a), (one, b))[loser])
            report = self.stub.Deadlocks(locks.LockServiceDeadlocksRequest()).report
            ages.append(min(member["age_ms"] for member in report["deadlocks"][0]["circle"]))
        self.assertFalse(any(call.done() for call in waits))
        print("2,000 waits elsewhere; told after (ms):", ages)
        self.assertLess(min(ages), 100)


if __name__ == "__main__":
    unittest.main(verbosity=2)
