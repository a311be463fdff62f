"""What processes report reaches the supervisor's view of them, and what is none of theirs is dropped and counted."""

from typing import Any

import msgspec
import zmq

from posestream.stream.run.children import Child, turned_away
from posestream.stream.run.dispatch import Dispatch
from posestream.stream.wire.control import ControlLink, ControlServer, Finished, Status
from posestream.stream.wire.counters import CameraCounters, PoseRecorderCounters, PoseRows
from posestream.stream.wire.endpoints import local_endpoint
from posestream.stream.wire.process import joining

from ...support.waiting import until


def test_counters_of_another_kind_are_dropped_and_all_else_is_taken(context: "zmq.Context[Any]") -> None:
    server = ControlServer(context, local_endpoint("control"))
    child = Child("poses", remote=False)
    dispatch = Dispatch(server, [child], lambda _: None)
    link = ControlLink(context, server.endpoint, joining("poses"))

    def told() -> bool:
        link.receive(0)
        dispatch.receive(0.02)
        return child.state != "starting"

    until(told)
    sound = PoseRecorderCounters(malformed=2, cameras={"top": PoseRows(poses_recorded=5)})
    link.send(Status(counters=msgspec.msgpack.encode(sound)))
    until(lambda: (told(), child.counters is not None)[1])
    assert child.counters == sound
    for odd in (b"\xc1", msgspec.msgpack.encode({"cameras": 5}), msgspec.msgpack.encode([1])):
        link.send(Finished(counters=odd))
    until(lambda: (told(), server.malformed["counters"] == 3)[1])
    assert child.counters == sound
    assert child.state == "finished"
    turned = turned_away([child], server)
    assert turned.malformed == {"supervisor": 3, "poses": 2}
    link.close()
    server.close()


def test_what_a_camera_lost_has_the_names_of_the_states() -> None:
    assert CameraCounters(lost_queue=3, rows_encoder_error=1).losses == {"lost-queue": 3, "encoder-error": 1}
    told = msgspec.to_builtins(CameraCounters(rows_encoder_error=1))
    assert told["rows_encoder-error"] == 1
