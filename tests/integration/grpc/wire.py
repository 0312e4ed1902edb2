"""What the gRPC tests share: stubs generated at test time, a connection, error details."""

import importlib
import os
import queue
import subprocess
import sys
import tempfile
import threading

import grpc

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
SOCKET = os.path.join(os.environ["HEDDLE_RUNTIME_DIR"], "grpc.sock")
SERVICES = ("session_service", "queue_service", "lock_service", "pipe_service", "dict_service",
            "list_service", "block_service", "admin_service")


def generate():
    """heddle.v1 for Python, into a temporary directory that goes with the process."""
    out = tempfile.TemporaryDirectory()
    protos = [f"heddle/v1/{name}.proto" for name in SERVICES + ("types",)]
    protos += ["google/rpc/status.proto", "google/rpc/error_details.proto"]
    plugin = subprocess.run(["which", "grpc_python_plugin"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.strip()
    subprocess.run(
        ["protoc", "-I", SOURCE + "/proto", "-I", "/usr/include", "--python_out", out.name,
         "--grpc_out", out.name, f"--plugin=protoc-gen-grpc={plugin}", *protos], check=True)
    sys.path.insert(0, out.name)
    google = importlib.import_module("google")
    google.__path__ = list(google.__path__) + [out.name + "/google"]
    return out


_DIRECTORY = generate()
types = importlib.import_module("heddle.v1.types_pb2")
queues = importlib.import_module("heddle.v1.queue_service_pb2")
locks = importlib.import_module("heddle.v1.lock_service_pb2")
pipes = importlib.import_module("heddle.v1.pipe_service_pb2")
dicts = importlib.import_module("heddle.v1.dict_service_pb2")
lists = importlib.import_module("heddle.v1.list_service_pb2")
blocks = importlib.import_module("heddle.v1.block_service_pb2")
sessions = importlib.import_module("heddle.v1.session_service_pb2")
admin = importlib.import_module("heddle.v1.admin_service_pb2")
_queues_grpc = importlib.import_module("heddle.v1.queue_service_pb2_grpc")
_locks_grpc = importlib.import_module("heddle.v1.lock_service_pb2_grpc")
_pipes_grpc = importlib.import_module("heddle.v1.pipe_service_pb2_grpc")
_dicts_grpc = importlib.import_module("heddle.v1.dict_service_pb2_grpc")
_lists_grpc = importlib.import_module("heddle.v1.list_service_pb2_grpc")
_blocks_grpc = importlib.import_module("heddle.v1.block_service_pb2_grpc")
_sessions_grpc = importlib.import_module("heddle.v1.session_service_pb2_grpc")
_admin_grpc = importlib.import_module("heddle.v1.admin_service_pb2_grpc")
rpc_status = importlib.import_module("google.rpc.status_pb2")
error_details = importlib.import_module("google.rpc.error_details_pb2")


class Connection:
    """One HTTP/2 connection of its own with a stub for each service."""

    def __init__(self):
        self.channel = grpc.insecure_channel(
            "unix:" + SOCKET, options=[("grpc.use_local_subchannel_pool", 1),
                                       ("grpc.max_receive_message_length", -1),
                                       ("grpc.max_send_message_length", -1)])
        self.queue = _queues_grpc.QueueServiceStub(self.channel)
        self.lock = _locks_grpc.LockServiceStub(self.channel)
        self.pipe = _pipes_grpc.PipeServiceStub(self.channel)
        self.dict = _dicts_grpc.DictServiceStub(self.channel)
        self.list = _lists_grpc.ListServiceStub(self.channel)
        self.block = _blocks_grpc.BlockServiceStub(self.channel)
        self.session = _sessions_grpc.SessionServiceStub(self.channel)
        self.admin = _admin_grpc.AdminServiceStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def create(self, name, **options):
        return self.queue.Create(queues.QueueServiceCreateRequest(
            name=name, options=queues.QueueOptions(**options)))

    def put(self, name, text, **fields):
        return self.queue.Put(queues.QueueServicePutRequest(
            name=name, message=types.Message(text=text), **fields))

    def get(self, name, timeout_ms=0, **fields):
        return self.queue.Get(queues.QueueServiceGetRequest(
            name=name, timeout_ms=timeout_ms, **fields))

    def counts(self, name):
        return self.queue.Info(queues.QueueServiceInfoRequest(name=name)).queue.counts


class Session:
    """A session whose lease this test renews when it wants to."""

    def __init__(self, connection, lease_ms=0, resume_token=""):
        self.requests = queue.Queue()
        self.events = []
        self.seen = threading.Condition()
        self.error = None
        self.call = connection.session.Open(iter(self.requests.get, None))
        threading.Thread(target=self._read, daemon=True).start()
        self.requests.put(sessions.SessionServiceOpenRequest(
            lease_ms=lease_ms, resume_token=resume_token, name="test"))
        first = self.event(0)
        if first is None:
            raise self.error
        if not first.token or first.lost:
            return  # what could not be resumed
        self.token = first.token
        self.owner = first.session & 0xffff
        self.metadata = (("heddle-session", self.token),)

    def _read(self):
        try:
            for event in self.call:
                with self.seen:
                    self.events.append(event)
                    self.seen.notify_all()
        except grpc.RpcError as error:
            self.error = error
        with self.seen:
            self.events.append(None)
            self.seen.notify_all()

    def event(self, index, timeout=20):
        with self.seen:
            if not self.seen.wait_for(lambda: len(self.events) > index or None in self.events,
                                      timeout):
                raise AssertionError(f"no event {index}: {self.events}")
            return self.events[min(index, len(self.events) - 1)]

    def ended(self, timeout=20):
        with self.seen:
            return self.seen.wait_for(lambda: None in self.events, timeout)

    def names(self):
        return [sessions.SessionServiceOpenResponse.Event.Name(event.event)
                for event in self.events if event]

    def renew(self):
        self.requests.put(sessions.SessionServiceOpenRequest())

    def close(self):
        self.requests.put(None)


def details(error):
    """The details of a failed call by their type: {"ErrorInfo": message, ...}."""
    trailers = dict(error.trailing_metadata())
    status = rpc_status.Status.FromString(trailers["grpc-status-details-bin"])
    found = {"Status": status}
    for detail in status.details:
        name = detail.type_url.rsplit(".", 1)[1]
        found[name] = getattr(error_details, name).FromString(detail.value)
    return found
