#!/usr/bin/python3
"""One message over gRPC, as any language can. Usage: grpc_calls.py put|get NAME [TEXT]

For where grpcurl cannot be had: the messages are described by heddle/v1/queue_service.proto.
"""

import os
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto")
SERVICE = "heddle.v1.QueueService"


def messages():
    """A function from a message's name to its class."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", PROTO, "--include_imports", "--descriptor_set_out",
                        out.name, "heddle/v1/queue_service.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return lambda name: factory.GetPrototype(pool.FindMessageTypeByName("heddle.v1." + name))


def call(method, fields):
    message = messages()
    request, response = (message(f"QueueService{method}{end}") for end in ("Request", "Response"))
    socket = os.environ["HEDDLE_RUNTIME_DIR"] + "/grpc.sock"
    with grpc.insecure_channel("unix:" + socket) as channel:
        stub = channel.unary_unary(f"/{SERVICE}/{method}",
                                   request_serializer=request.SerializeToString,
                                   response_deserializer=response.FromString)
        return stub(json_format.ParseDict(fields, request()))


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "put":
        answer = call("Put", {"name": arguments[1], "message": {"text": arguments[2]}})
    elif len(arguments) == 2 and arguments[0] == "get":
        answer = call("Get", {"name": arguments[1], "timeout_ms": 1000})
    else:
        sys.exit(__doc__)
    print(json_format.MessageToJson(answer, indent=2, preserving_proto_field_name=True))


if __name__ == "__main__":
    main(sys.argv[1:])
