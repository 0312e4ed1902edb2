#!/usr/bin/python3
"""Hostile and broken clients: others are served, memory stays bounded. Run under with_daemon."""

import collections
import os
import queue
import resource
import socket
import struct
import threading
import time
import unittest

import grpc

from wire import SOCKET, Connection, queues, types

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MIB = 1 << 20


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + \
        struct.pack(">I", stream) + payload


SETTINGS = frame(4, 0, 0)


def literal(name, value):
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def headers(stream, path, flags=4):
    block = (literal(b":method", b"POST") + literal(b":scheme", b"http") +
             literal(b":path", path) + literal(b":authority", b"localhost") +
             literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers"))
    return frame(1, flags, stream, block)


def raw():
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    while True:
        try:
            connection.connect(SOCKET)
            return connection
        except BlockingIOError:  # the backlog is full
            time.sleep(0.001)


def broker_pid():
    parent = os.environ["HEDDLE_DAEMON_PID"]
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
        for pid in file.read().split():
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as cmdline:
                if "heddle-broker" in cmdline.read():
                    return int(pid)
    raise AssertionError("there is no broker")


def broker_bytes():
    with open(f"/proc/{broker_pid()}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Abuse(unittest.TestCase):
    def setUp(self):
        self.pid = broker_pid()
        self.connection = Connection()
        self.addCleanup(self.connection.channel.close)
        self.name = self.id().rsplit(".", 1)[1]
        self.connection.create(self.name)

    def tearDown(self):
        self.assertEqual(broker_pid(), self.pid, "the broker died")
        self.assert_served()

    def assert_served(self):
        with Connection() as other:
            stub = other.queue
            stub.Put(queues.QueueServicePutRequest(
                name=self.name, message=types.Message(text="x")), timeout=20)
            self.assertEqual(stub.Get(queues.QueueServiceGetRequest(name=self.name),
                                      timeout=20).outcome, types.OUTCOME_OK)

    def test_oversized(self):
        with self.assertRaises(grpc.RpcError) as failed:
            self.connection.put(self.name, "x" * (40 * MIB))
        self.assertEqual(failed.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_a_client_within_the_stream_limit_is_never_refused(self):
        """More calls than the limit wait in the client; those that it ends make room at once."""
        for length in (0.3, 0.6):
            calls = [self.connection.queue.Get.future(
                queues.QueueServiceGetRequest(name=self.name, timeout_ms=250), timeout=length)
                for _ in range(4_000)]
            for number in range(0, len(calls), 2):
                calls[number].cancel()
            outcomes = collections.Counter()
            for call in calls:
                try:
                    outcomes[call.result().outcome] += 1
                except grpc.FutureCancelledError:
                    outcomes["cancelled"] += 1
                except grpc.RpcError as error:
                    outcomes[error.code()] += 1
            self.assertNotIn(grpc.StatusCode.RESOURCE_EXHAUSTED, outcomes)
            self.assertGreater(outcomes["cancelled"], 0)

    def test_unknown_method(self):
        call = self.connection.channel.unary_unary("/heddle.v1.QueueService/Frobnicate")
        with self.assertRaises(grpc.RpcError) as failed:
            call(b"", timeout=20)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_a_request_that_is_no_message(self):
        call = self.connection.channel.unary_unary("/heddle.v1.QueueService/Put")
        with self.assertRaises(grpc.RpcError):
            call(b"\xff\xff\xff\xff\xff", timeout=20)

    def test_truncated_and_silent_connections(self):
        for start in (b"", b"PRI", PREFACE, PREFACE + SETTINGS[:5], os.urandom(200),
                      PREFACE + SETTINGS + headers(1, b"/heddle.v1.QueueService/Put")[:20],
                      PREFACE + SETTINGS + headers(1, b"/heddle.v1.QueueService/Put") +
                      frame(0, 0, 1, b"\0\0\0\x10\0" + b"x" * 10)):
            connection = raw()
            connection.sendall(start)
            self.addCleanup(connection.close)
            half = raw()
            half.sendall(start)
            half.close()

    def test_streams_that_are_never_read(self):
        body = types.Message(data=b"x" * MIB)
        for _ in range(64):
            self.connection.queue.Put(queues.QueueServicePutRequest(
                name=self.name, message=body))
        before = broker_bytes()
        calls = []
        for _ in range(20):
            wishes = queue.Queue()
            wishes.put(queues.QueueServiceConsumeRequest(
                name=self.name, credits=1000, ack_mode=types.ACK_MODE_MANUAL))
            calls.append((self.connection.queue.Consume(iter(wishes.get, None)), wishes))
        time.sleep(1)
        self.assertLess(broker_bytes() - before, 160 * MIB)
        for call, wishes in calls:
            call.cancel()
            wishes.put(None)
        deadline = time.monotonic() + 20
        while self.connection.counts(self.name).leased and time.monotonic() < deadline:
            time.sleep(0.05)
        counts = self.connection.counts(self.name)
        self.assertEqual((counts.leased, counts.ready + counts.returned), (0, 64))

    def test_a_flood_of_streams_is_cut(self):
        """A client that never acknowledges SETTINGS and so escapes the announced limit."""
        before = broker_bytes()
        body = queues.QueueServiceGetRequest(name=self.name).SerializeToString()
        message = b"\0" + struct.pack(">I", len(body)) + body
        connection = raw()
        connection.sendall(PREFACE + SETTINGS)
        cut = False
        try:
            for stream in range(1, 60_001, 2):
                connection.sendall(headers(stream, b"/heddle.v1.QueueService/Get") +
                                   frame(0, 1, stream, message))
        except OSError:
            cut = True
        connection.close()
        self.assertTrue(cut, "30,000 calls at once were let in")
        self.assertLess(broker_bytes() - before, 128 * MIB)

    def test_a_flood_of_calls_without_requests_is_cut(self):
        before = broker_bytes()
        connection = raw()
        connection.sendall(PREFACE + SETTINGS)
        cut = False
        try:
            for stream in range(1, 400_001, 2):
                connection.sendall(headers(stream, b"/heddle.v1.QueueService/Get"))
        except OSError:
            cut = True
        connection.close()
        self.assertTrue(cut, "200,000 calls at once were let in")
        self.assertLess(broker_bytes() - before, 512 * MIB)

    def test_a_get_whose_client_dies(self):
        for _ in range(20):
            child = os.fork()
            if child == 0:
                body = queues.QueueServiceGetRequest(name=self.name).SerializeToString()
                connection = raw()
                connection.sendall(PREFACE + SETTINGS +
                                   headers(1, b"/heddle.v1.QueueService/Get") +
                                   frame(0, 1, 1, b"\0" + struct.pack(">I", len(body)) + body))
                os.kill(os.getpid(), 9)
            os.waitpid(child, 0)
        time.sleep(0.2)
        put = self.connection.put(self.name, "kept")
        got = self.connection.get(self.name, timeout_ms=5000)
        self.assertEqual((got.delivery.id, got.delivery.delivery_count), (put.id, 1))

    def test_many_connections(self):
        """Up to the limit of one user; the next one is told why. Closed ones count no more."""
        limit = int(os.environ["CONNECTIONS_MAX"])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < limit * 3 // 2 + 200:  # the broker gives them the upper two thirds
            self.skipTest(f"{limit} connections need more than {hard} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        crowd = []
        refusal = b""
        for _ in range(limit + 50):
            crowd.append(raw())
        for connection in reversed(crowd):
            connection.settimeout(5)
            data = connection.recv(4096)
            if b"too many gRPC connections" in data:
                refusal = data
                break
        self.assertIn(str(limit).encode(), refusal)
        # Those who were in before go on.
        self.assertEqual(self.connection.put(self.name, "x").outcome, types.OUTCOME_OK)
        self.assertEqual(self.connection.get(self.name).outcome, types.OUTCOME_OK)
        for connection in crowd:
            connection.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                return self.assert_served()
            except grpc.RpcError:
                time.sleep(0.2)
        self.fail("closed connections still count")

    def test_no_descriptors_left(self):
        limit = len(os.listdir(f"/proc/{self.pid}/fd")) + 8
        soft, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, hard))
        try:
            crowd = [raw() for _ in range(60)]
            time.sleep(0.5)
            self.assertEqual(self.connection.put(self.name, "x").outcome, types.OUTCOME_OK)
            self.assertEqual(self.connection.get(self.name).outcome, types.OUTCOME_OK)
            for connection in crowd:
                connection.close()
        finally:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))
        time.sleep(1.5)

    def test_many_callers_at_once(self):
        failures = []

        def work():
            with Connection() as other:
                for _ in range(20):
                    try:
                        other.put(self.name, "y")
                        if other.get(self.name, timeout_ms=10_000).outcome != types.OUTCOME_OK:
                            failures.append("a get found nothing")
                    except grpc.RpcError as error:
                        failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.connection.counts(self.name).unfinished, 0)


if __name__ == "__main__":
    unittest.main()
