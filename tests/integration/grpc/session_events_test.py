#!/usr/bin/python3
"""Locks whose session is late, broken, lost or robbed. Run under with_daemon."""

import os
import subprocess
import sys
import time
import unittest

import grpc

from wire import Connection, Session, details, locks, types

HOLDER = """
import sys, time
sys.path.insert(0, {here!r})
from wire import Connection, Session, locks
connection = Connection()
session = Session(connection, lease_ms=1000)
connection.lock.Acquire(locks.LockServiceAcquireRequest(name={name!r}), metadata=session.metadata)
print("held", flush=True)
{then}
"""


class SessionEvents(unittest.TestCase):
    def setUp(self):
        self.connection = Connection()
        self.addCleanup(self.connection.channel.close)
        self.stub = self.connection.lock
        self.name = self.id().rsplit(".", 1)[1]

    def session(self, connection=None, **options):
        session = Session(connection or self.connection, **options)
        self.addCleanup(session.close)
        return session

    def create(self, **options):
        self.stub.Create(locks.LockServiceCreateRequest(
            name=self.name, options=locks.LockOptions(**options)))

    def acquire(self, session, **fields):
        return self.stub.Acquire(locks.LockServiceAcquireRequest(name=self.name, **fields),
                                 metadata=session.metadata)

    def release(self, session):
        return self.stub.Release(locks.LockServiceReleaseRequest(name=self.name),
                                 metadata=session.metadata).outcome

    def inspect(self):
        return self.stub.Inspect(locks.LockServiceInspectRequest(name=self.name)).lock

    def ended_with(self, session):
        deadline = time.monotonic() + 20
        while session.error is None:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return details(session.error)["ErrorInfo"].reason

    def test_a_late_renewal_is_told(self):
        session = self.session(lease_ms=3000)
        self.acquire(session)
        session.event(1)
        session.renew()
        session.event(3)
        self.assertEqual(session.names(),
                         ["EVENT_OPENED", "EVENT_UNSURE", "EVENT_RENEWED", "EVENT_HELD"])
        self.assertEqual(self.release(session), types.OUTCOME_OK)

    def test_a_renewal_in_time_is_not(self):
        session = self.session(lease_ms=1500)
        for _ in range(6):
            time.sleep(0.4)
            session.renew()
        session.event(6)
        self.assertEqual(session.names(), ["EVENT_OPENED"] + ["EVENT_RENEWED"] * 6)

    def test_a_lost_session_hears_what_is_gone_and_late_writes_are_kept_out(self):
        self.create(lock_delay_ms=2000)
        self.stub.SetEvent(locks.LockServiceSetEventRequest(name=self.name))
        one, two = self.session(lease_ms=1000), self.session()
        first = self.acquire(one)
        self.assertEqual(self.ended_with(one), "SESSION_LOST")
        lost_at = time.monotonic()
        self.assertEqual(one.names()[-1], "EVENT_LOST")
        self.assertEqual(list(one.events[-2].lost), ["lock " + self.name])
        self.assertEqual(self.acquire(two, timeout_ms=0).outcome, types.OUTCOME_EMPTY)
        grant = self.acquire(two).grant
        self.assertGreater(time.monotonic() - lost_at, 1.5)
        self.assertTrue(grant.abandoned)
        self.assertEqual(grant.previous.owner, one.owner)
        self.assertEqual(grant.token, first.grant.token + 1)
        with self.assertRaises(grpc.RpcError) as failed:
            self.release(one)
        self.assertEqual(details(failed.exception)["ErrorInfo"].reason, "SESSION_LOST")
        self.release(two)

    def test_the_delay_is_fifteen_seconds_unless_the_lock_says_otherwise(self):
        self.create()
        self.assertEqual(self.inspect().options.lock_delay_ms, 15000)

    def test_a_broken_stream_is_resumed_with_all_it_held(self):
        session = self.session()
        self.acquire(session)
        session.call.cancel()
        again = self.session(Connection(), resume_token=session.token)
        again.event(1)
        self.assertEqual(again.names(), ["EVENT_RESUMED", "EVENT_HELD"])
        self.assertEqual(self.release(again), types.OUTCOME_OK)

    def test_a_resumption_that_comes_too_late_hears_what_is_gone(self):
        self.create(lock_delay_ms=0)
        session = self.session(lease_ms=1000)
        self.acquire(session)
        session.call.cancel()
        other = self.session()
        self.assertTrue(self.acquire(other).grant.abandoned)  # once the lease has run out
        late = self.session(resume_token=session.token)
        self.assertEqual(self.ended_with(late), "SESSION_LOST")
        self.assertEqual(list(late.events[0].lost), ["lock " + self.name])

    def test_force_is_told_to_the_loser(self):
        one, two = self.session(), self.session()
        self.acquire(one)
        self.stub.ForceRelease(locks.LockServiceForceReleaseRequest(name=self.name,
                                                                    owner=one.owner))
        event = one.event(1)
        self.assertEqual((one.names()[1], list(event.lost)), ("EVENT_LOST", ["lock " + self.name]))
        self.assertEqual(self.release(one), types.OUTCOME_LEASE_LOST)
        self.assertTrue(self.acquire(two).grant.abandoned)
        self.assertEqual(len(two.events), 1)
        self.assertEqual(self.acquire(one, timeout_ms=0).outcome, types.OUTCOME_EMPTY)

    def killed(self, then):
        """A process of its own that holds the lock, does `then`, and is killed."""
        script = HOLDER.format(here=os.path.dirname(os.path.abspath(__file__)), name=self.name,
                               then=then)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"held\n")
        return process

    def test_a_killed_holder_is_found_by_its_lease(self):
        self.create(lock_delay_ms=0)
        process = self.killed("time.sleep(60)")
        session = self.session()
        self.assertEqual(self.inspect().holders[0].peer.pid, process.pid)
        process.kill()
        process.wait()
        process.stdout.close()
        self.assertTrue(self.acquire(session).grant.abandoned)

    def test_a_killed_waiter_leaves_nothing(self):
        # The holder waits for a second lock that this session holds.
        self.create(lock_delay_ms=0)
        session = self.session()
        other = self.name + "/other"
        self.stub.Acquire(locks.LockServiceAcquireRequest(name=other), metadata=session.metadata)
        process = self.killed(
            f"connection.lock.Acquire(locks.LockServiceAcquireRequest(name={other!r}),"
            " metadata=session.metadata)")

        def waiters():
            return len(self.stub.Inspect(locks.LockServiceInspectRequest(name=other)).lock.waiters)
        deadline = time.monotonic() + 20
        while waiters() != 1:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.kill()
        process.wait()
        process.stdout.close()
        while waiters() != 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertTrue(self.acquire(session).grant.abandoned)


if __name__ == "__main__":
    unittest.main(verbosity=2)
