"""What another user may call: every RPC of every service that the broker's reflection tells of,
found by walking the descriptors, so one that is added later must be placed here or the test
fails."""

import contextlib
import os
import queue
import re
import unittest

import grpc

from wire import (Connection, Session, admin, blocks, details, dicts, lists, locks, pipes, queues,
                  sessions, types)

NOBODY = 65534
DAEMON = 1  # the gid of a group that is everywhere, and not nobody's
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVICES = ((queues, "QueueService", "queue"), (sessions, "SessionService", "session"),
            (admin, "AdminService", "admin"))
APART = {"LockService", "PipeService", "DictService", "ListService",
         "BlockService"}  # have tests of their own
# Not about one object: they show only what the caller may see, or counters of the broker.
OF_NO_OBJECT = {"QueueService.List", "SessionService.Open", "AdminService.List",
                "AdminService.Sessions", "AdminService.Stats", "AdminService.Status"}
# What r alone allows.
READING = {"QueueService.Create", "QueueService.Open", "QueueService.Info", "QueueService.Peek",
           "QueueService.Browse", "QueueService.Who", "QueueService.Join",
           "AdminService.Describe"}
OWNING = {"QueueService.Delete", "QueueService.Purge"}

# The same for locks and their kin.
LOCKS_OF_NO_OBJECT = {"List", "Deadlocks", "Graph", "Orders"}
LOCKS_READING = {"Create", "Open", "Inspect"}
LOCKS_OWNING = {"Delete", "ForceRelease", "Repair"}
# What would make the object if the name were free.
LOCKS_MAKING = {"Create", "Acquire", "AcquireMany", "Convert", "Wait", "WaitEvent", "SetEvent"}
KINDS = {"Wait": locks.SYNC_KIND_CONDITION, "Notify": locks.SYNC_KIND_CONDITION,
         "WaitEvent": locks.SYNC_KIND_EVENT, "SetEvent": locks.SYNC_KIND_EVENT,
         "Arrive": locks.SYNC_KIND_BARRIER, "FinishAction": locks.SYNC_KIND_BARRIER,
         "AbortBarrier": locks.SYNC_KIND_BARRIER, "ResetBarrier": locks.SYNC_KIND_BARRIER,
         "JoinBarrier": locks.SYNC_KIND_BARRIER}  # any other: a lock


@contextlib.contextmanager
def other_user(*joined):
    """Connections made inside are another user's, who is in these groups: the kernel notes the
    effective ids."""
    groups = os.getgroups()
    os.setgroups(joined)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def methods():
    for module, service, stub in SERVICES:
        for method in module.DESCRIPTOR.services_by_name[service].methods:
            request = getattr(module, method.input_type.name)
            yield f"{service}.{method.name}", stub, method.name, request


def lock_requests(name):
    """(method, a request that names the object or objects)."""
    for method in locks.DESCRIPTOR.services_by_name["LockService"].methods:
        request = getattr(locks, method.input_type.name)()
        known = request.DESCRIPTOR.fields_by_name
        if method.name in LOCKS_OF_NO_OBJECT:
            continue
        if method.name == "AcquireMany":
            request.wishes.add(name=name)
        else:
            request.name = name
        if "kind" in known:
            request.kind = KINDS.get(method.name, locks.SYNC_KIND_LOCK)
        if "timeout_ms" in known:
            request.timeout_ms = 0
        if "lock" in known:
            request.lock = name
        yield method.name, request


# And for pipes.
PIPES_READING = {"Create", "Info"}
PIPES_OWNING = {"Delete"}
PIPES_MAKING = {"Create", "Send", "Receive", "Attach"}


def pipe_requests(name):
    for method in pipes.DESCRIPTOR.services_by_name["PipeService"].methods:
        request = getattr(pipes, method.input_type.name)()
        if method.name == "List":
            continue
        if method.name == "Attach":
            request.open.name = name
            request.open.how = pipes.PipeServiceAttachRequest.HOW_END_A
        else:
            request.name = name
        yield method.name, request


# And for dicts, lists and blocks, of which each is one object: module, what it is made with, what r
# allows, what only the owner may, and what else an empty one refuses of that.
MEMBERS = {
    "dict": (dicts, {}, {"Create", "Info", "Get", "GetMany", "Scan", "Watch"}, {"Delete"}, {}),
    "list": (lists, {}, {"Create", "Info", "Get", "Slice", "Watch"}, {"Delete"},
             {"Get": "OUT_OF_RANGE"}),
    "block": (blocks, {"size": 4096}, {"Create", "Info", "Read", "Watch"}, {"Delete", "Force"},
              {}),
}


def member_requests(noun, name):
    module = MEMBERS[noun][0]
    for method in module.DESCRIPTOR.services_by_name[noun.capitalize() + "Service"].methods:
        request = getattr(module, method.input_type.name)(**({} if method.name == "List"
                                                             else {"name": name}))
        if "key" in request.DESCRIPTOR.fields_by_name:
            request.key = "k"
        if method.name != "List":
            yield method.name, request


def call(connection, stub, method, request, metadata=None):
    """None when it is served, else the reason of the refusal."""
    function = getattr(getattr(connection, stub), method)
    try:
        if isinstance(function, grpc.StreamStreamMultiCallable):
            for _ in function(iter([request]), timeout=20):
                break
        elif isinstance(function, grpc.UnaryStreamMultiCallable):
            for _ in function(request, timeout=2):
                break
        else:
            function(request, timeout=20, metadata=metadata)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return None  # a stream on which nothing happened
        return details(error)["ErrorInfo"].reason
    return None


@unittest.skipUnless(os.geteuid() == 0, "needs root to be somebody else")
class Rights(unittest.TestCase):
    def setUp(self):
        self.name = "rights/" + self.id().rsplit(".", 1)[1]
        self.mine = self.enter(Connection())
        grpc.channel_ready_future(self.mine.channel).result(20)
        os.chmod(os.path.dirname(os.environ["HEDDLE_RUNTIME_DIR"]), 0o711)
        with other_user():
            self.theirs = self.enter(Connection())
            grpc.channel_ready_future(self.theirs.channel).result(20)

    def enter(self, manager):
        self.addCleanup(manager.__exit__, None, None, None)
        return manager.__enter__()

    def test_every_service_is_here(self):
        ask = self.mine.channel.stream_stream(REFLECTION)
        answer = next(ask(iter([b"\x3a\x01*"]), timeout=20))  # list_services
        served = {name.decode() for name in re.findall(rb"heddle\.v1\.(\w+)", answer)}
        self.assertEqual(served, {name for _, name, _ in SERVICES} | APART)

    def lock_refusals(self, mode):
        """The refusal of each method that names an object, where one of each kind has this
        mode."""
        for kind in set(KINDS.values()) | {locks.SYNC_KIND_LOCK}:
            options = locks.LockOptions(mode=mode)
            if kind == locks.SYNC_KIND_BARRIER:
                options.count = 2
            self.mine.lock.Create(locks.LockServiceCreateRequest(
                name=self.name, kind=kind, options=options))
        session = Session(self.theirs)
        self.addCleanup(session.close)
        return {method: call(self.theirs, "lock", method, request, session.metadata)
                for method, request in lock_requests(self.name)}

    def test_without_rights_a_lock_does_not_exist(self):
        found = self.lock_refusals(0o600)
        self.assertGreater(len(found), 15)
        for method, reason in found.items():
            taken = method in LOCKS_MAKING  # and the name is
            self.assertEqual(reason, "DENIED" if taken else "NOT_FOUND", method)

    def test_reading_a_lock_is_not_using_it(self):
        found = self.lock_refusals(0o644)
        self.assertLessEqual(LOCKS_READING, set(found))
        for method, reason in found.items():
            self.assertEqual(reason, None if method in LOCKS_READING else "DENIED", method)

    def test_using_a_lock_is_not_owning_it(self):
        found = self.lock_refusals(0o666)
        denied = {method for method, reason in found.items() if reason == "DENIED"}
        self.assertEqual(denied, LOCKS_OWNING)

    def pipe_refusals(self, mode):
        self.mine.pipe.Create(pipes.PipeServiceCreateRequest(
            name=self.name, options=pipes.PipeOptions(access=mode)))
        found = {method: call(self.theirs, "pipe", method, request)
                 for method, request in pipe_requests(self.name)}
        self.assertEqual(len(found), 6)
        listed = self.theirs.pipe.List(pipes.PipeServiceListRequest(prefix=self.name)).pipes
        self.assertEqual(len(listed), 0 if mode == 0o600 else 1)
        return found

    def test_without_rights_a_pipe_does_not_exist(self):
        for method, reason in self.pipe_refusals(0o600).items():
            self.assertEqual(reason, "DENIED" if method in PIPES_MAKING else "NOT_FOUND", method)

    def test_reading_a_pipe_is_not_using_it(self):
        for method, reason in self.pipe_refusals(0o644).items():
            self.assertEqual(reason, None if method in PIPES_READING else "DENIED", method)

    def test_using_a_pipe_is_not_owning_it(self):
        for method, reason in self.pipe_refusals(0o666).items():
            self.assertEqual(reason, "DENIED" if method in PIPES_OWNING else None, method)

    def member_refusals(self, noun, mode):
        module, options = MEMBERS[noun][:2]
        name, service = f"{self.name}.{noun}", noun.capitalize() + "Service"
        getattr(self.mine, noun).Create(getattr(module, service + "CreateRequest")(
            name=name, options=getattr(module, noun.capitalize() + "Options")(mode=mode,
                                                                              **options)))
        found = {method: call(self.theirs, noun, method, request)
                 for method, request in member_requests(noun, name)}
        self.assertGreater(len(found), 7)
        listed = getattr(getattr(self.theirs, noun).List(
            getattr(module, service + "ListRequest")(prefix=name)), noun + "s")
        self.assertEqual(len(listed), 0 if mode == 0o600 else 1)
        return found

    def test_without_rights_a_member_does_not_exist(self):
        for noun in MEMBERS:
            for method, reason in self.member_refusals(noun, 0o600).items():
                self.assertEqual(reason, "DENIED" if method == "Create" else "NOT_FOUND",
                                 (noun, method))

    def test_reading_a_member_is_not_writing_it(self):
        for noun, (_, _, reading, _, others) in MEMBERS.items():
            for method, reason in self.member_refusals(noun, 0o644).items():
                self.assertEqual(reason, others.get(method) if method in reading else "DENIED",
                                 (noun, method))

    def test_writing_a_member_is_not_owning_it(self):
        for noun, (_, _, _, owning, _) in MEMBERS.items():
            found = self.member_refusals(noun, 0o666)
            self.assertEqual({method for method, reason in found.items() if reason == "DENIED"},
                             owning)

    def test_a_group_is_known_by_its_members_connection(self):
        self.mine.create(self.name, mode=0o640, group=str(DAEMON))
        self.mine.put(self.name, "x")
        with other_user(DAEMON):
            member = self.enter(Connection())
            grpc.channel_ready_future(member.channel).result(20)
        peek = queues.QueueServicePeekRequest(name=self.name)
        put = queues.QueueServicePutRequest(name=self.name, message=types.Message(text="y"))
        self.assertIsNone(call(member, "queue", "Peek", peek))
        self.assertEqual(call(member, "queue", "Put", put), "DENIED")
        self.assertEqual(call(self.theirs, "queue", "Peek", peek), "NOT_FOUND")
        self.mine.create(self.name + "2", mode=0o660, group=str(DAEMON))
        put.name += "2"
        self.assertIsNone(call(member, "queue", "Put", put))

    def refusals(self, mode):
        """The refusal of each method that names an object, on a queue of this mode with a
        message in it."""
        self.mine.create(self.name, mode=mode)
        self.mine.put(self.name, "x")
        found = {}
        for name, stub, method, request in methods():
            if name not in OF_NO_OBJECT:
                self.assertIn("name", request.DESCRIPTOR.fields_by_name, name)
                fields = {"timeout_ms": 0} if "timeout_ms" in request.DESCRIPTOR.fields_by_name \
                    else {}
                if name.endswith(".Consume"):
                    fields["take"] = 1
                found[name] = call(self.theirs, stub, method, request(name=self.name, **fields))
        self.assertEqual(self.mine.counts(self.name).ready, 1)
        self.assertEqual(self.mine.counts(self.name).puts, 1)
        return found

    def test_without_rights_the_name_does_not_exist(self):
        found = self.refusals(0o600)
        self.assertEqual(found.pop("QueueService.Create"), "DENIED")  # the name is taken
        self.assertGreater(len(found), 20)
        self.assertEqual(set(found.values()), {"NOT_FOUND"}, found)

    def test_reading_shows_and_changes_nothing(self):
        found = self.refusals(0o644)
        self.assertLessEqual(READING, set(found))
        for name, reason in found.items():
            self.assertEqual(reason, None if name in READING else "DENIED", name)

    def test_writing_does_not_own(self):
        self.mine.create(self.name, mode=0o666)
        for name, stub, method, request in methods():
            if name in OWNING:
                self.assertEqual(call(self.theirs, stub, method, request(name=self.name)),
                                 "DENIED", name)
        self.theirs.put(self.name, "x")
        self.assertEqual(self.theirs.get(self.name).delivery.message.text, "x")

    def test_lists_leave_out_what_is_hidden(self):
        self.mine.create(self.name)
        with self.subTest("queues"):
            request = queues.QueueServiceListRequest(prefix=self.name)
            self.assertEqual(len(self.mine.queue.List(request).queues), 1)
            self.assertEqual(len(self.theirs.queue.List(request).queues), 0)
        with self.subTest("objects"):
            request = admin.AdminServiceListRequest(prefix=self.name)
            self.assertEqual(len(self.mine.admin.List(request).objects), 1)
            self.assertEqual(len(self.theirs.admin.List(request).objects), 0)
        with self.subTest("sessions"):
            self.open_session(self.mine)
            request = admin.AdminServiceSessionsRequest()
            self.assertNotEqual(len(self.mine.admin.Sessions(request).sessions), 0)
            self.assertEqual(len(self.theirs.admin.Sessions(request).sessions), 0)

    def open_session(self, connection):
        """The token of a session that ends with the test."""
        requests = queue.SimpleQueue()
        requests.put(sessions.SessionServiceOpenRequest())
        self.addCleanup(requests.put, None)
        return next(connection.session.Open(iter(requests.get, None))).token

    def test_a_token_serves_its_own_user_only(self):
        self.mine.create(self.name, mode=0o666)
        token = self.open_session(self.mine)
        with self.assertRaises(grpc.RpcError) as failed:
            self.theirs.queue.Get(queues.QueueServiceGetRequest(name=self.name, timeout_ms=0),
                                  metadata=[("heddle-session", token)])
        self.assertEqual(details(failed.exception)["ErrorInfo"].reason, "SESSION_LOST")
        request = sessions.SessionServiceOpenRequest(resume_token=token)
        self.assertEqual(call(self.theirs, "session", "Open", request), "SESSION_LOST")

    def test_a_lease_serves_its_own_user_only(self):
        self.mine.create(self.name, mode=0o666)
        self.mine.put(self.name, "x")
        lease = self.mine.get(self.name, ack_mode=types.ACK_MODE_MANUAL).delivery.lease
        for verb in ("Ack", "Nack", "Extend", "Bury"):
            request = getattr(queues, f"QueueService{verb}Request")(name=self.name, leases=[lease])
            self.assertEqual(call(self.theirs, "queue", verb, request), "DENIED", verb)
        self.assertEqual(self.mine.counts(self.name).leased, 1)

    def test_what_another_user_took_comes_back_at_the_end_of_its_stream(self):
        self.mine.create(self.name, mode=0o666)
        self.mine.put(self.name, "x")
        requests = iter([queues.QueueServiceConsumeRequest(
            name=self.name, ack_mode=types.ACK_MODE_MANUAL, take=1)])
        stream = self.theirs.queue.Consume(requests, timeout=20)
        self.assertEqual(next(stream).deliveries[0].message.text, "x")
        self.assertEqual(list(stream), [])  # the requests have ended, and the stream with them
        self.assertEqual(self.mine.get(self.name, timeout_ms=20_000).delivery.message.text, "x")


if __name__ == "__main__":
    unittest.main()
