"""A collector of traces: OTLP over gRPC, by the classes of opentelemetry-proto and grpcio. One line of JSON for each span.

Usage: collector.py PORT
"""

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service


def plain(attributes):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


class Collector(service.TraceServiceServicer):
    def Export(self, request, context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    print(json.dumps({
                        "resource": plain(resource.resource.attributes),
                        "scope": scope.scope.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "attributes": plain(span.attributes),
                        "status": MessageToDict(span.status),
                    }), flush=True)
        return messages.ExportTraceServiceResponse()


server = grpc.server(ThreadPoolExecutor(max_workers=2))
service.add_TraceServiceServicer_to_server(Collector(), server)
if server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}") == 0:
    sys.exit("the port is taken")
server.start()
print(json.dumps({"ready": True}), flush=True)
signal.sigwait({signal.SIGTERM})
server.stop(0)
