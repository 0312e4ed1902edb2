#!/usr/bin/python3
"""Every unary call, the streams, sessions, and what a failure says. Run under with_daemon."""

import os
import queue
import threading
import time
import unittest

import grpc

from wire import Connection, admin, details, queues, sessions, types


class Calls(unittest.TestCase):
    def setUp(self):
        self.connection = Connection()
        self.addCleanup(self.connection.channel.close)
        self.stub = self.connection.queue
        self.name = self.id().rsplit(".", 1)[1]

    def create(self, **options):
        return self.connection.create(self.name, **options)

    def put(self, *bodies):
        return [self.connection.put(self.name, body).id for body in bodies]

    def wait_until(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.01)

    def test_bodies_keep_their_form(self):
        self.create()
        big = '{"n":12345678901234567890}'
        for body in (types.Message(text="héllo"), types.Message(data=b"\xff\0\x01"),
                     types.Message(json_text=big), types.Message()):
            self.stub.Put(queues.QueueServicePutRequest(name=self.name, message=body))
        request = queues.QueueServicePutRequest(name=self.name)
        request.message.json.struct_value.fields["a"].list_value.values.add().number_value = 7
        self.stub.Put(request)
        got = [self.connection.get(self.name).delivery for _ in range(5)]
        self.assertEqual([m.message.WhichOneof("body") for m in got],
                         ["text", "data", "json_text", "text", "json"])
        self.assertEqual(got[0].message.text, "héllo")
        self.assertEqual(got[1].message.data, b"\xff\0\x01")
        self.assertEqual(got[2].message.json_text, big)
        self.assertEqual(got[4].message.json.struct_value.fields["a"].list_value.values[0]
                         .number_value, 7)
        self.assertEqual([m.delivery_count for m in got], [1] * 5)

    def test_body_that_does_not_fit_stays(self):
        self.create()
        self.put("plain")
        with self.assertRaises(grpc.RpcError) as failed:
            self.connection.get(self.name, body_as=types.BODY_AS_JSON)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(self.connection.get(self.name).delivery.message.text, "plain")

    def test_outcomes_are_values(self):
        self.create(max_len=1)
        self.assertEqual(self.connection.get(self.name).outcome, types.OUTCOME_EMPTY)
        self.assertEqual(self.connection.get(self.name, timeout_ms=20).outcome,
                         types.OUTCOME_TIMED_OUT)
        self.put("1")
        full = self.connection.put(self.name, "2")
        self.assertEqual(full.outcome, types.OUTCOME_FULL)
        detail = full.outcome_detail
        self.assertEqual((detail.reason, detail.object, detail.limit, detail.actual),
                         ("FULL", "queue " + self.name, 1, 1))
        self.assertIn("max_len", detail.message)
        self.assertEqual(self.connection.put(self.name, "2", timeout_ms=20).outcome,
                         types.OUTCOME_TIMED_OUT)
        self.stub.Shutdown(queues.QueueServiceShutdownRequest(name=self.name))
        self.assertEqual(self.connection.put(self.name, "3").outcome, types.OUTCOME_CLOSED)
        self.assertEqual(self.connection.get(self.name).delivery.message.text, "1")
        self.assertEqual(self.connection.get(self.name, timeout_ms=5000).outcome,
                         types.OUTCOME_END_OF_STREAM)
        self.stub.Reopen(queues.QueueServiceReopenRequest(name=self.name))
        self.assertEqual(self.connection.put(self.name, "4").outcome, types.OUTCOME_OK)

    def test_leases(self):
        self.create(max_deliveries=2)
        self.put("a", "b")
        manual = types.ACK_MODE_MANUAL
        first = self.connection.get(self.name, ack_mode=manual).delivery
        self.stub.Nack(queues.QueueServiceNackRequest(name=self.name, leases=[first.lease]))
        again = self.connection.get(self.name, ack_mode=manual).delivery
        self.assertEqual((again.id, again.delivery_count), (first.id, 2))
        late = self.stub.Ack(queues.QueueServiceAckRequest(name=self.name, leases=[first.lease]))
        self.assertEqual((late.outcome, list(late.lost)),
                         (types.OUTCOME_LEASE_LOST, [first.lease]))
        # Asked again after a lost reply: still lost, for the message is there.
        for call, request in ((self.stub.Ack, queues.QueueServiceAckRequest),
                              (self.stub.Bury, queues.QueueServiceBuryRequest)):
            late = call(request(name=self.name, leases=[first.lease], asked_before=True))
            self.assertEqual((late.outcome, late.done), (types.OUTCOME_LEASE_LOST, 0))
        extended = self.stub.Extend(queues.QueueServiceExtendRequest(
            name=self.name, leases=[again.lease], lease_ms=5000))
        self.assertEqual(extended.outcome, types.OUTCOME_OK)
        self.stub.Nack(queues.QueueServiceNackRequest(name=self.name, leases=[again.lease]))
        self.assertEqual(self.connection.counts(self.name).buried, 1)
        self.assertEqual(self.stub.Kick(queues.QueueServiceKickRequest(name=self.name)).done, 1)
        kicked = self.connection.get(self.name, ack_mode=manual).delivery
        self.assertEqual(kicked.id, first.id)
        following = self.connection.get(self.name, ack_mode=manual, ack_leases=[kicked.lease])
        self.assertEqual(following.delivery.message.text, "b")
        buried = self.stub.Bury(queues.QueueServiceBuryRequest(
            name=self.name, leases=[following.delivery.lease]))
        self.assertEqual(buried.done, 1)
        purged = self.stub.Purge(queues.QueueServicePurgeRequest(
            name=self.name, states=[types.MESSAGE_STATE_BURIED]))
        self.assertEqual(purged.done, 1)

    def test_lease_without_a_session_expires(self):
        self.create()
        self.put("x")
        self.connection.get(self.name, ack_mode=types.ACK_MODE_MANUAL, lease_ms=50)
        again = self.connection.get(self.name, timeout_ms=10_000).delivery
        self.assertEqual((again.message.text, again.delivery_count), ("x", 2))

    def test_looking_takes_nothing(self):
        self.create()
        ids = self.put("a", "b", "c")
        self.connection.get(self.name, ack_mode=types.ACK_MODE_MANUAL)
        peeked = self.stub.Peek(queues.QueueServicePeekRequest(name=self.name, max_messages=5))
        self.assertEqual([d.message.text for d in peeked.deliveries], ["b", "c"])
        rows, token = [], ""
        while True:
            page = self.stub.Browse(queues.QueueServiceBrowseRequest(
                name=self.name, page_size=2, page_token=token, max_body_bytes=100))
            rows += page.rows
            token = page.next_page_token
            if not token:
                break
        self.assertEqual([row.id for row in rows], ids)
        self.assertEqual(rows[0].state, types.MESSAGE_STATE_LEASED)
        self.assertEqual(rows[0].message.text, "a")
        self.assertEqual(rows[0].holder.plane, "grpc")
        who = self.stub.Who(queues.QueueServiceWhoRequest(name=self.name))
        self.assertEqual([user.leases for user in who.users], [1])
        for holder in (rows[0].holder, who.users[0].peer):
            self.assertEqual((holder.pid, holder.uid), (os.getpid(), os.getuid()))
            self.assertIn(os.path.basename(__file__), holder.name)
        self.assertEqual(self.connection.counts(self.name).unfinished, 3)

    def test_a_request_id_puts_once(self):
        self.create()
        first = self.connection.put(self.name, "x", request_id="r1")
        second = self.connection.put(self.name, "x", request_id="r1")
        self.assertEqual((second.id, second.duplicate), (first.id, True))
        self.assertEqual(self.connection.counts(self.name).ready, 1)

    def test_batches(self):
        self.create(max_len=3)
        put = self.stub.PutMany(queues.QueueServicePutManyRequest(
            name=self.name, messages=[types.Message(text=str(i)) for i in range(5)]))
        self.assertEqual((put.outcome, put.done, len(put.ids)), (types.OUTCOME_FULL, 3, 3))
        got = self.stub.GetMany(queues.QueueServiceGetManyRequest(name=self.name, max_messages=9))
        self.assertEqual([d.message.text for d in got.deliveries], ["0", "1", "2"])

    def test_join_names_holders(self):
        self.create()
        self.put("x")
        held = self.connection.get(self.name, ack_mode=types.ACK_MODE_MANUAL).delivery
        joined = self.stub.Join(queues.QueueServiceJoinRequest(name=self.name, timeout_ms=20))
        self.assertEqual((joined.outcome, joined.unfinished, len(joined.holders)),
                         (types.OUTCOME_TIMED_OUT, 1, 1))
        waiting = self.stub.Join.future(queues.QueueServiceJoinRequest(name=self.name))
        self.stub.Ack(queues.QueueServiceAckRequest(name=self.name, leases=[held.lease]))
        self.assertEqual(waiting.result(20).outcome, types.OUTCOME_OK)

    def test_a_cancelled_wait_loses_nothing(self):
        self.create()
        waiting = self.stub.Get.future(queues.QueueServiceGetRequest(name=self.name))
        self.wait_until(lambda: self.waiting() == 1)
        waiting.cancel()
        self.wait_until(lambda: self.waiting() == 0)
        put = self.connection.put(self.name, "x")
        got = self.connection.get(self.name).delivery
        self.assertEqual((got.id, got.delivery_count), (put.id, 1))

    def test_a_cancellation_that_meets_a_delivery_loses_nothing(self):
        """Whoever cancels too late holds a lease it does not know of; that one ends by itself."""
        self.create()
        rounds, cancelled = 50, 0
        for _ in range(rounds):
            waiting = self.stub.Get.future(queues.QueueServiceGetRequest(
                name=self.name, ack_mode=types.ACK_MODE_MANUAL, lease_ms=100))
            put = self.stub.Put.future(queues.QueueServicePutRequest(
                name=self.name, message=types.Message(text="x")))
            cancelled += waiting.cancel()
            self.assertEqual(put.result(20).outcome, types.OUTCOME_OK)
        ids = {self.connection.get(self.name, timeout_ms=10_000).delivery.id
               for _ in range(rounds)}
        self.assertEqual(len(ids), rounds)
        self.assertGreater(cancelled, 0)

    def waiting(self):
        return self.stub.Who(queues.QueueServiceWhoRequest(name=self.name)).waiting

    def test_a_deadline_is_answered_before_it_runs_out(self):
        self.create()
        got = self.stub.Get(queues.QueueServiceGetRequest(name=self.name), timeout=0.2)
        self.assertEqual(got.outcome, types.OUTCOME_TIMED_OUT)
        self.assertEqual(self.waiting(), 0)
        self.put("x")
        self.assertEqual(self.connection.counts(self.name).ready, 1)

    def test_a_deadline_that_meets_a_delivery_loses_nothing(self):
        """With auto-ack: what comes in the last moment is not given to whom it cannot reach."""
        names = [f"{self.name}/{number}" for number in range(10)]
        for name in names:
            self.connection.create(name)
        received = 0
        rounds, length = 30, 0.1
        for number in range(rounds):
            start = time.monotonic()
            calls = [self.stub.Get.future(queues.QueueServiceGetRequest(name=name),
                                          timeout=length) for name in names]
            # 10 ms to 0 ms before the deadline of the first.
            moment = start + length - 0.01 * (rounds - number) / rounds
            time.sleep(max(0.0, moment - time.monotonic()))
            puts = [self.stub.Put.future(queues.QueueServicePutRequest(
                name=name, message=types.Message(text="x"))) for name in names]
            for name, call, put in zip(names, calls, puts):
                put_id = put.result(20).id
                try:
                    delivery = call.result(20).delivery
                except grpc.RpcError:
                    delivery = types.Message()
                if delivery.ByteSize() == 0:
                    delivery = self.connection.get(name, timeout_ms=5_000).delivery
                else:
                    received += 1
                self.assertEqual((delivery.id, delivery.delivery_count), (put_id, 1))
        self.assertLess(received, rounds * len(names))

    def test_a_cancellation_before_a_put_loses_nothing(self):
        """With auto-ack, and without waiting until the broker knows that nobody waits any more."""
        self.create()
        rounds = 300
        for _ in range(rounds):
            waiting = self.stub.Get.future(queues.QueueServiceGetRequest(name=self.name))
            self.wait_until(lambda: self.waiting() == 1)
            self.assertTrue(waiting.cancel())
            put = self.connection.put(self.name, "x")
            self.wait_until(lambda: self.connection.counts(self.name).ready +
                            self.connection.counts(self.name).returned == 1)
            got = self.connection.get(self.name).delivery
            self.assertEqual((got.id, got.delivery_count), (put.id, 1))

    def test_errors_say_what_and_why(self):
        with self.assertRaises(grpc.RpcError) as failed:
            self.connection.put("no/such/queue", "x")
        self.assertEqual(failed.exception.code(), grpc.StatusCode.NOT_FOUND)
        found = details(failed.exception)
        self.assertEqual(found["ErrorInfo"].reason, "NOT_FOUND")
        self.assertEqual(found["ErrorInfo"].domain, "heddle")
        self.assertIn("no/such/queue", found["ErrorInfo"].metadata["object"])
        self.assertIn("ResourceInfo", found)
        self.create(max_msg_bytes=100)
        with self.assertRaises(grpc.RpcError) as failed:
            self.connection.put(self.name, "y" * 101)
        found = details(failed.exception)
        self.assertEqual(found["ErrorInfo"].reason, "TOO_LARGE")
        self.assertEqual(found["ErrorInfo"].metadata["limit"], "100")
        self.assertEqual(found["ErrorInfo"].metadata["actual"], "101")
        with self.assertRaises(grpc.RpcError) as failed:
            self.create(max_msg_bytes=200)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.ALREADY_EXISTS)
        self.assertIn("max_msg_bytes", failed.exception.details())
        with self.assertRaises(grpc.RpcError) as failed:
            self.connection.create("two", max_bytes=100, max_msg_bytes=101)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        for word in ("max_bytes", "max_msg_bytes", "100", "101"):
            self.assertIn(word, failed.exception.details())
        with self.assertRaises(grpc.RpcError) as failed:
            self.connection.create("/bad name")
        self.assertIn("BadRequest", details(failed.exception))

    def test_produce_and_consume(self):
        self.create(max_len=100)
        total = 1000

        def batches():
            for start in range(0, total, 50):
                yield queues.QueueServiceProduceRequest(
                    name=self.name,
                    messages=[types.Message(text=str(i)) for i in range(start, start + 50)])

        answers = []
        producer = threading.Thread(target=lambda: answers.extend(self.stub.Produce(batches())))
        producer.start()
        wishes = queue.Queue()
        wishes.put(queues.QueueServiceConsumeRequest(name=self.name, credits=64))
        got = []
        for response in self.stub.Consume(iter(wishes.get, None)):
            got += [int(d.message.text) for d in response.deliveries]
            if len(got) >= total:
                wishes.put(None)
            else:
                wishes.put(queues.QueueServiceConsumeRequest(credits=len(response.deliveries)))
        producer.join()
        self.assertEqual(got, list(range(total)))
        self.assertEqual(sum(answer.done for answer in answers), total)

    def produce(self, *requests):
        requests[0].name = self.name
        return list(self.stub.Produce(iter(requests)))

    def consume(self, **fields):
        wishes = iter([queues.QueueServiceConsumeRequest(name=self.name, timeout_ms=0, **fields)])
        return next(self.stub.Consume(wishes))

    def test_packed_batches(self):
        self.create()
        data, text, json_text = (types.BODY_KIND_DATA, types.BODY_KIND_TEXT,
                                 types.BODY_KIND_JSON_TEXT)
        packed = types.PackedBodies(bodies=b"loose\xffend", lengths=[5, 0, 1, 3],
                                    kinds=[text, data, data, text])
        answers = self.produce(
            queues.QueueServiceProduceRequest(messages=[types.Message(text="before")],
                                              packed=packed, want_ids=True),
            queues.QueueServiceProduceRequest(
                packed=types.PackedBodies(bodies=b"[1]{}", lengths=[3, 2], kinds=[json_text])),
            queues.QueueServiceProduceRequest(
                packed=types.PackedBodies(bodies=b"\x00\x01", lengths=[1, 1])))
        self.assertEqual([answer.done for answer in answers], [5, 2, 2])
        self.assertEqual(len(answers[0].ids), 5)
        first = self.consume(take=4096, packed=True, ack_mode=types.ACK_MODE_MANUAL).packed
        self.assertEqual(first.bodies.bodies, b"beforeloose\xffend[1]{}\x00\x01")
        self.assertEqual(list(first.bodies.lengths), [6, 5, 0, 1, 3, 3, 2, 1, 1])
        self.assertEqual(list(first.bodies.kinds), [text, text, data, data, text, json_text,
                                                    json_text, data, data])
        self.assertEqual(list(first.ids[:5]), list(answers[0].ids))
        self.assertEqual((len(first.leases), list(first.delivery_counts)), (9, []))
        # The stream is over, and with it its leases: uncounted. One is given back counted.
        self.wait_until(lambda: self.connection.counts(self.name).leased == 0)
        held = self.connection.get(self.name, ack_mode=types.ACK_MODE_MANUAL).delivery
        self.stub.Nack(queues.QueueServiceNackRequest(name=self.name, leases=[held.lease]))
        again = self.consume(take=3, packed=True).packed
        self.assertEqual((list(again.delivery_counts), list(again.leases)), ([2, 1, 1], []))
        self.wait_until(lambda: self.connection.counts(self.name).unfinished == 6)
        rest = self.consume(take=2, packed=True, body_as=types.BODY_AS_DATA).packed
        self.assertEqual((rest.bodies.bodies, list(rest.bodies.kinds)), (b"\xffend", [data, text]))
        self.stub.Purge(queues.QueueServicePurgeRequest(name=self.name))
        self.assertEqual(self.consume(take=9, packed=True).outcome, types.OUTCOME_EMPTY)

    def test_packed_batches_that_are_wrong(self):
        self.create()
        for why, packed in (
                ("do not add up", types.PackedBodies(bodies=b"abc", lengths=[1, 1])),
                ("do not add up", types.PackedBodies(bodies=b"abc", lengths=[2**32 - 1, 4])),
                ("do not add up", types.PackedBodies(bodies=b"abc")),
                ("one for each", types.PackedBodies(bodies=b"abc", lengths=[1, 1, 1],
                                                    kinds=[types.BODY_KIND_DATA] * 2)),
                ("JSON", types.PackedBodies(bodies=b"[1][", lengths=[3, 1],
                                            kinds=[types.BODY_KIND_JSON]))):
            with self.assertRaises(grpc.RpcError) as failed:
                self.produce(queues.QueueServiceProduceRequest(packed=packed))
            self.assertEqual(failed.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn(why, failed.exception.details())
        self.assertEqual(self.connection.counts(self.name).unfinished, 0)
        with self.assertRaises(grpc.RpcError) as failed:
            self.consume(take=1, packed=True, body_as=types.BODY_AS_TEXT)
        self.assertIn("body_as", failed.exception.details())

    def test_credits_bound_what_is_sent(self):
        self.create()
        self.put(*"abcde")
        wishes = queue.Queue()
        wishes.put(queues.QueueServiceConsumeRequest(
            name=self.name, credits=2, ack_mode=types.ACK_MODE_MANUAL))
        call = self.stub.Consume(iter(wishes.get, None))
        got = []
        while len(got) < 2:
            got += next(call).deliveries
        time.sleep(0.1)
        self.assertEqual(self.connection.counts(self.name).leased, 2)
        wishes.put(queues.QueueServiceConsumeRequest(ack_leases=[got[0].lease]))
        self.wait_until(lambda: self.connection.counts(self.name).unfinished == 4)
        call.cancel()  # without a session the stream's end returns what it held, uncounted
        wishes.put(None)
        self.wait_until(lambda: self.connection.counts(self.name).leased == 0)
        back = self.connection.get(self.name, timeout_ms=5000).delivery
        self.assertEqual((back.id, back.delivery_count), (got[1].id, 1))

    def test_takes_and_end_of_stream(self):
        self.create()
        self.put("a", "b", "c")
        self.stub.Shutdown(queues.QueueServiceShutdownRequest(name=self.name))
        wishes = [queues.QueueServiceConsumeRequest(name=self.name, take=2),
                  queues.QueueServiceConsumeRequest(take=2),
                  queues.QueueServiceConsumeRequest(take=2, timeout_ms=5000)]
        pending = queue.Queue()
        call = self.stub.Consume(iter(pending.get, None))
        answers = []
        for wish in wishes:
            pending.put(wish)
            answers.append(next(call))
        pending.put(None)
        self.assertEqual([len(a.deliveries) for a in answers], [2, 1, 0])
        self.assertEqual(answers[2].outcome, types.OUTCOME_END_OF_STREAM)

    def open_session(self, **fields):
        renewals = queue.Queue()
        renewals.put(sessions.SessionServiceOpenRequest(**fields))
        call = self.connection.session.Open(iter(renewals.get, None))
        return call, next(call), renewals

    def test_a_session_ends_with_its_stream(self):
        self.create()
        self.put("x")
        call, opened, renewals = self.open_session(name="me", lease_ms=5000)
        self.assertEqual(opened.event, sessions.SessionServiceOpenResponse.EVENT_OPENED)
        metadata = [("heddle-session", opened.token)]
        self.stub.Get(queues.QueueServiceGetRequest(
            name=self.name, ack_mode=types.ACK_MODE_MANUAL), metadata=metadata)
        listed = self.connection.admin.Sessions(admin.AdminServiceSessionsRequest()).sessions
        self.assertIn((opened.session, "me"), [(s.peer.session, s.peer.name) for s in listed])
        renewals.put(sessions.SessionServiceOpenRequest())
        self.assertEqual(next(call).event, sessions.SessionServiceOpenResponse.EVENT_RENEWED)
        renewals.put(None)
        self.assertEqual(list(call), [])
        self.assertEqual(self.connection.get(self.name, timeout_ms=5000).delivery.message.text,
                         "x")
        with self.assertRaises(grpc.RpcError) as failed:
            self.stub.Info(queues.QueueServiceInfoRequest(name=self.name), metadata=metadata)
        self.assertEqual(details(failed.exception)["ErrorInfo"].reason, "SESSION_LOST")

    def test_a_session_is_resumed(self):
        self.create()
        self.put("x")
        call, opened, _ = self.open_session(lease_ms=20_000)
        metadata = [("heddle-session", opened.token)]
        held = self.stub.Get(queues.QueueServiceGetRequest(
            name=self.name, ack_mode=types.ACK_MODE_MANUAL), metadata=metadata).delivery
        call.cancel()
        _, resumed, renewals = self.open_session(resume_token=opened.token)
        self.assertEqual(resumed.event, sessions.SessionServiceOpenResponse.EVENT_RESUMED)
        self.stub.TaskDone(queues.QueueServiceTaskDoneRequest(name=self.name), metadata=metadata)
        late = self.stub.Ack(queues.QueueServiceAckRequest(name=self.name, leases=[held.lease]),
                             metadata=metadata)
        self.assertEqual(late.outcome, types.OUTCOME_LEASE_LOST)
        renewals.put(None)

    def test_the_last_producer_ends_the_stream(self):
        self.create(eos=queues.QueueOptions.EOS_LAST_PRODUCER)
        call, opened, renewals = self.open_session()
        metadata = [("heddle-session", opened.token)]
        for producer in (0, 1, 1, 7):  # each number counts once
            self.stub.RegisterProducer(queues.QueueServiceRegisterProducerRequest(
                name=self.name, producer=producer), metadata=metadata)
        self.assertEqual(self.connection.counts(self.name).producers, 3)
        self.put("x")
        for producer in (7, 0, 1):
            self.assertFalse(self.connection.counts(self.name).closed)
            self.stub.UnregisterProducer(queues.QueueServiceUnregisterProducerRequest(
                name=self.name, producer=producer), metadata=metadata)
        # As after a lost answer.
        self.stub.UnregisterProducer(queues.QueueServiceUnregisterProducerRequest(
            name=self.name, producer=1), metadata=metadata)
        self.assertEqual(self.connection.get(self.name).outcome, types.OUTCOME_OK)
        self.assertEqual(self.connection.get(self.name, timeout_ms=5000).outcome,
                         types.OUTCOME_END_OF_STREAM)
        renewals.put(None)

    def test_admin(self):
        self.create()
        status = self.connection.admin.Status(admin.AdminServiceStatusRequest())
        self.assertGreater(status.pid, 0)
        self.assertEqual(status.supervisor_pid, int(os.environ["HEDDLE_DAEMON_PID"]))
        listed = self.connection.admin.List(admin.AdminServiceListRequest(prefix=self.name))
        self.assertEqual([row.name for row in listed.objects], [self.name])
        described = self.connection.admin.Describe(
            admin.AdminServiceDescribeRequest(name=self.name)).description
        self.assertEqual(described["options"]["max_len"], 1_000_000)
        self.assertGreaterEqual(self.connection.admin.Stats(
            admin.AdminServiceStatsRequest()).stats["objects"], 1)
        self.stub.Delete(queues.QueueServiceDeleteRequest(name=self.name))
        self.assertFalse(self.stub.List(
            queues.QueueServiceListRequest(prefix=self.name)).queues)


if __name__ == "__main__":
    unittest.main()
