"""A game server with the published Python client, which speaks REST: a whole life."""

import json
import os
import time

import agones_python_sdk
from agones_python_sdk import SDKApi
from agones_python_sdk.exceptions import ApiException


def ask(what):
    print(f"do {what}", flush=True)
    assert input() == "done"


def refused(status, code, call, *arguments):
    try:
        call(*arguments)
    except ApiException as error:
        assert error.status == status, error
        body = json.loads(error.body)
        assert body["code"] == code and body["message"] and body["details"] == [], body
    else:
        raise AssertionError(f"{call.__name__} was taken")


class Watch:
    """The client's own stream, line by line."""

    def __init__(self, sdk):
        self.answer = sdk.watch_game_server_without_preload_content(_request_timeout=20.0)
        assert self.answer.status == 200
        self.lines = self.lines_of(self.answer)

    @staticmethod
    def lines_of(answer):
        rest = b""
        for piece in answer.stream(1):
            rest += piece
            while b"\n" in rest:
                line, rest = rest.split(b"\n", 1)
                yield agones_python_sdk.StreamResultOfSdkGameServer.from_json(line.decode())

    def state(self):
        return next(self.lines).result.status.state

    def until(self, state):
        seen = []
        while not seen or seen[-1] != state:
            seen.append(self.state())
        return seen


def main():
    host = f"http://localhost:{os.environ['AGONES_SDK_HTTP_PORT']}"
    client = agones_python_sdk.ApiClient(agones_python_sdk.Configuration(host=host))
    sdk = SDKApi(client)
    assert sdk.get_game_server().status.state in ("Starting", "Scheduled")
    watch = Watch(sdk)
    sdk.ready({})
    assert watch.until("Ready")[-2:] == ["RequestReady", "Ready"]
    ask("joinable")
    print("ready, and joinable")

    sdk.health({})
    sdk.set_label(agones_python_sdk.SdkKeyValue(key="mode", value="ctf"))
    sdk.set_annotation(agones_python_sdk.SdkKeyValue(key="note", value="any text: ü"))
    sdk.reserve(agones_python_sdk.SdkDuration(seconds="1"))
    watch.until("Reserved")
    watch.until("Ready")
    sdk.allocate({})
    watch.until("Allocated")
    server = sdk.get_game_server()
    assert server.object_meta.labels == {"agones.dev/sdk-mode": "ctf"}, server
    assert server.object_meta.annotations["agones.dev/sdk-note"] == "any text: ü", server
    assert [(port.name, port.port) for port in server.status.ports] == [("default", 7777)], server
    assert server.spec.health.disabled is False and server.object_meta.generation == "1", server
    refused(400, 3, sdk.set_label, agones_python_sdk.SdkKeyValue(key="a/b", value="x"))
    refused(400, 3, sdk.reserve, agones_python_sdk.SdkDuration(seconds="soon"))
    print("labelled, reserved, allocated")

    # A heartbeat that began and stops is unhealthy; when it goes on, it is well again.
    watch.until("Unhealthy")
    sdk.health({})
    watch.until("Allocated")
    print("unhealthy, and well again")
    sdk.shutdown({})
    watch.until("Shutdown")
    sdk.shutdown({})


began = time.monotonic()
main()
