#!/usr/bin/python3
"""Pipes over gRPC as others meet them: streams, one-shot calls, how ends end, abuse.

Run under with_daemon.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import unittest

import grpc

from wire import Connection, Session, details, pipes, types

Request = pipes.PipeServiceAttachRequest


class End:
    """A stream of Attach; its responses in the order they come, None at the end."""

    def __init__(self, connection, **opening):
        first = {k: opening.pop(k) for k in list(opening) if k not in
                 ("name", "how", "options", "existing", "timeout_ms")}
        self.requests = queue.Queue()
        self.responses = queue.Queue()
        self.error = None
        self.call = connection.pipe.Attach(iter(self.requests.get, None))
        threading.Thread(target=self._read, daemon=True).start()
        self.say(open=Request.Open(**opening), **first)

    def _read(self):
        try:
            for response in self.call:
                self.responses.put(response)
        except grpc.RpcError as error:
            self.error = error
        self.responses.put(None)

    def say(self, **fields):
        self.requests.put(Request(**fields))

    def next(self, timeout=20):
        return self.responses.get(timeout=timeout)

    def half_close(self):
        self.requests.put(None)


def texts(packed):
    at, found = 0, []
    for length in packed.lengths:
        found.append(packed.bodies[at:at + length].decode())
        at += length
    return found


def message(text):
    return types.Message(text=text)


class Pipes(unittest.TestCase):
    def setUp(self):
        self.connection = Connection()
        self.addCleanup(self.connection.channel.close)
        self.name = self.id().rsplit(".", 1)[1]

    def end(self, how, name="", **fields):
        end = End(self.connection, name=name or self.name, how=how, **fields)
        self.addCleanup(end.call.cancel)
        opened = end.next()
        self.assertIsNotNone(opened, end.error)
        self.assertTrue(opened.HasField("opened"), opened)
        return end

    def send(self, *bodies, **fields):
        return self.connection.pipe.Send(pipes.PipeServiceSendRequest(
            name=fields.pop("name", self.name), messages=[message(body) for body in bodies],
            **fields.pop("fields", {})), **fields)

    def receive(self, name="", metadata=None, **fields):
        return self.connection.pipe.Receive(pipes.PipeServiceReceiveRequest(
            name=name or self.name, **fields), metadata=metadata)

    def refused(self, reason, call):
        with self.assertRaises(grpc.RpcError) as failed:
            call()
        info = details(failed.exception)["ErrorInfo"]
        self.assertEqual(info.reason, reason, failed.exception)
        return failed.exception.details()

    def test_both_directions_and_a_clean_end(self):
        a, b = self.end(Request.HOW_END_A), self.end(Request.HOW_END_B)
        a.say(messages=[message("one"), types.Message(json_text='{"n": 2}')])
        self.assertEqual(a.next().sent.messages, 2)
        b.say(credits=5)
        got = b.next().received
        self.assertEqual(texts(got), ["one", '{"n": 2}'])
        self.assertEqual(list(got.kinds), [types.BODY_KIND_TEXT, types.BODY_KIND_JSON_TEXT])
        b.say(messages=[message("back")])
        self.assertEqual(b.next().sent.messages, 1)
        a.say(credits=1)
        self.assertEqual(texts(a.next().received), ["back"])
        a.half_close()
        self.assertIsNone(a.next())
        self.assertIsNone(a.error)
        ended = b.next()
        self.assertTrue(ended.ended)
        self.assertEqual(ended.why.reason, "END_OF_STREAM")
        b.say(messages=[message("nobody")])
        self.assertEqual(b.next().why.reason, "BROKEN_PIPE")

    def test_one_shot_streams_do_all_they_were_told(self):
        a = End(self.connection, name=self.name, how=Request.HOW_END_A,
                messages=[message("1"), message("2")])
        a.half_close()
        self.assertTrue(a.next().HasField("opened"))
        self.assertEqual(a.next().sent.messages, 2)
        self.assertIsNone(a.next())
        b = End(self.connection, name=self.name, how=Request.HOW_END_B, credits=10)
        b.half_close()
        self.assertTrue(b.next().HasField("opened"))
        self.assertEqual(texts(b.next().received), ["1", "2"])
        self.assertEqual(b.next().why.reason, "END_OF_STREAM")
        self.assertIsNone(b.next())

    def test_breaking_off_is_a_death(self):
        b = self.end(Request.HOW_END_B)
        b.say(credits=10)
        a = self.end(Request.HOW_END_A)
        a.say(messages=[message("before")])
        self.assertEqual(texts(b.next().received), ["before"])
        a.call.cancel()
        ended = b.next()
        self.assertEqual(ended.why.reason, "PEER_DIED", ended)

    def test_a_killed_process_is_named(self):
        b = self.end(Request.HOW_END_B)
        b.say(credits=10)
        program = """
import sys, time
sys.path.insert(0, sys.argv[1])
from wire import Connection, pipes, types
Request = pipes.PipeServiceAttachRequest
def requests():
    yield Request(open=Request.Open(name=sys.argv[2], how=Request.HOW_END_A),
                  messages=[types.Message(text="alive")])
    time.sleep(60)
for _ in Connection().pipe.Attach(requests()):
    pass
"""
        child = subprocess.Popen([sys.executable, "-c", program, os.path.dirname(__file__),
                                  self.name])
        self.assertEqual(texts(b.next().received), ["alive"])
        child.send_signal(signal.SIGKILL)
        child.wait()
        ended = b.next()
        self.assertEqual(ended.why.reason, "PEER_DIED")
        self.assertIn(f"pid {child.pid}", ended.why.message)

    def test_withdrawn_credits_bring_nothing_more(self):
        a, b = self.end(Request.HOW_END_A), self.end(Request.HOW_END_B)
        b.say(credits=3)
        b.say(withdraw=True)
        self.assertTrue(b.next().withdrawn)
        a.say(messages=[message("x")])
        self.assertEqual(a.next().sent.messages, 1)
        b.say(credits=1, withdraw=True)
        self.assertEqual(texts(b.next().received), ["x"])
        self.assertTrue(b.next().withdrawn)
        info = self.connection.pipe.Info(pipes.PipeServiceInfoRequest(name=self.name)).pipe
        self.assertEqual(info.connections[0].a.bytes_queued, 0)
        self.assertEqual(info.connections[0].a.users[0].peer.pid, os.getpid())

    def test_a_full_ring_keeps_nobody_from_receiving(self):
        options = pipes.PipeOptions(capacity=4096)
        a = self.end(Request.HOW_END_A, options=options)
        b = self.end(Request.HOW_END_B)
        a.say(messages=[message("f" * 1000)] * 20)
        b.say(messages=[message("g" * 1000)] * 20)
        a.say(credits=20)
        b.say(credits=20)
        got = {a: 0, b: 0}
        for end in (a, b):
            while got[end] < 20:
                response = end.next()
                got[end] += len(response.received.lengths)
        self.assertEqual(set(got.values()), {20})

    def test_what_goes_on_after_a_failure_is_not_done(self):
        a = self.end(Request.HOW_END_A, options=pipes.PipeOptions(capacity=4096))
        a.say(messages=[message("f" * 1000)] * 6, timeout_ms=0)
        first = a.next()
        self.assertEqual((first.sent.messages, first.why.reason), (4, "FULL"))
        a.say(messages=[message("small")], continues=True)
        self.assertEqual(a.next().sent.messages, 0)
        a.say(messages=[message("small")], timeout_ms=0)
        self.assertEqual(a.next().sent.messages, 1)

    def test_listeners_and_connections(self):
        late = End(self.connection, name=self.name, how=Request.HOW_CONNECT, timeout_ms=0)
        self.assertEqual(late.next().why.reason, "EMPTY")
        self.assertIsNone(late.next())
        waiting = End(self.connection, name=self.name, how=Request.HOW_CONNECT,
                      messages=[message("hello")])
        b = self.end(Request.HOW_ACCEPT)
        self.assertTrue(waiting.next().HasField("opened"))
        b.say(credits=1)
        self.assertEqual(texts(b.next().received), ["hello"])
        # Who has accepted listens no more.
        again = End(self.connection, name=self.name, how=Request.HOW_CONNECT, timeout_ms=30)
        self.assertEqual(again.next().why.reason, "TIMED_OUT")
        nobody = End(self.connection, name=self.name, how=Request.HOW_ACCEPT, timeout_ms=30)
        self.assertEqual(nobody.next().why.reason, "TIMED_OUT")

    def test_calls_without_a_session_are_the_whole_use_of_an_end(self):
        sent = self.send("a", "b")
        self.assertEqual((sent.outcome, sent.sent), (types.OUTCOME_OK, 2))
        got = self.receive(max_messages=10)
        self.assertEqual([one.text for one in got.messages], ["a", "b"])
        self.assertEqual(self.receive().outcome, types.OUTCOME_EMPTY)

    def test_a_session_keeps_the_end_between_calls(self):
        one, two = Session(self.connection), Session(self.connection)
        self.addCleanup(two.close)
        self.send("first", metadata=one.metadata)
        self.send("second", metadata=one.metadata)
        for text in ("first", "second"):
            got = self.receive(metadata=two.metadata)
            self.assertEqual([m.text for m in got.messages], [text])
        self.assertEqual(self.receive(metadata=two.metadata).outcome, types.OUTCOME_EMPTY)
        one.close()
        self.assertTrue(one.ended())
        end = self.receive(metadata=two.metadata, timeout_ms=20_000)
        self.assertEqual(end.outcome, types.OUTCOME_END_OF_STREAM)

    def test_a_waiting_receive_is_served_and_a_cancelled_one_leaves_nothing(self):
        session = Session(self.connection)
        self.addCleanup(session.close)
        future = self.connection.pipe.Receive.future(
            pipes.PipeServiceReceiveRequest(name=self.name, timeout_ms=20_000),
            metadata=session.metadata)
        time.sleep(0.05)
        future.cancel()
        time.sleep(0.05)
        self.send("for the next", metadata=None)
        got = self.receive(metadata=session.metadata, timeout_ms=20_000)
        self.assertEqual([one.text for one in got.messages], ["for the next"])

    def test_streams_of_bytes(self):
        options = pipes.PipeOptions(mode=pipes.PipeOptions.MODE_BYTES)
        a = self.end(Request.HOW_END_A, options=options)
        b = self.end(Request.HOW_END_B)
        b.say(credits=1000)
        body = bytes(range(256)) * 4000
        a.say(messages=[types.Message(data=body)], shutdown_write=True)
        got = b""
        while True:
            response = b.next()
            if response.ended:
                break
            got += response.received.bodies
        self.assertEqual(got, body)
        self.assertEqual(a.next().sent.bytes, len(body))

    def test_bad_requests_are_told_and_end_only_their_stream(self):
        def ends_with(reason, *requests):
            call = self.connection.pipe.Attach(iter(requests))
            self.refused(reason, lambda: list(call))

        opening = Request.Open(name=self.name, how=Request.HOW_END_A)
        ends_with("INVALID_ARGUMENT", Request(credits=1))
        ends_with("INVALID_ARGUMENT", Request(open=Request.Open(name=self.name)))
        ends_with("INVALID_ARGUMENT", Request(open=Request.Open(name=self.name, how=99)))
        ends_with("INVALID_ARGUMENT", Request(open=opening), Request(open=opening))
        ends_with("INVALID_ARGUMENT", Request(open=opening, credits=1 << 21))
        ends_with("INVALID_NAME", Request(open=Request.Open(name="..", how=Request.HOW_END_A)))
        ends_with("NOT_FOUND", Request(open=Request.Open(
            name="missing", how=Request.HOW_END_A, existing=True)))
        packed = types.PackedBodies(bodies=b"abc", lengths=[1])
        ends_with("INVALID_ARGUMENT", Request(open=opening, packed=packed))
        ends_with("INVALID_ARGUMENT", Request(open=Request.Open(
            name=self.name, how=Request.HOW_LISTEN), messages=[message("x")]))
        ends_with("EXISTS_OTHER_OPTIONS", Request(open=Request.Open(
            name=self.name, how=Request.HOW_END_A,
            options=pipes.PipeOptions(mode=pipes.PipeOptions.MODE_BYTES))))
        self.refused("NOT_FOUND", lambda: self.connection.pipe.Info(
            pipes.PipeServiceInfoRequest(name="missing")))
        a = self.end(Request.HOW_END_A, options=pipes.PipeOptions(), name="good")
        a.say(messages=[message("x" * (17 << 20))])
        self.assertEqual(a.next().why.reason, "TOO_LARGE")

    def test_one_that_never_reads_is_held_back(self):
        a = self.end(Request.HOW_END_A, options=pipes.PipeOptions(capacity=1 << 20))
        call = self.connection.pipe.Attach(iter([Request(
            open=Request.Open(name=self.name, how=Request.HOW_END_B), credits=1 << 20)]))
        self.addCleanup(call.cancel)
        body, sent = message("x" * 60_000), 0
        while sent < 2000:
            a.say(messages=[body] * 10, timeout_ms=300)
            answer = a.next()
            sent += answer.sent.messages
            if answer.why.reason:
                break
        self.assertEqual(answer.why.reason, "TIMED_OUT", "nobody stopped the sender")
        self.assertLess(sent, 500)
        self.send("others are served", name="other")

    def test_deletion_is_told(self):
        b = self.end(Request.HOW_END_B)
        b.say(credits=1)
        self.connection.pipe.Delete(pipes.PipeServiceDeleteRequest(name=self.name))
        self.assertEqual(b.next().why.reason, "CLOSED")
        names = [pipe.name for pipe in self.connection.pipe.List(
            pipes.PipeServiceListRequest()).pipes]
        self.assertNotIn(self.name, names)


if __name__ == "__main__":
    unittest.main(verbosity=2)
