"""Reacts when a body part enters a zone: python examples/closed_loop.py [ENDPOINT] [BODYPART].

Start it before or during `posestream run`; it ends with the session.
"""

import argparse

from posestream.stream.subscribers import DEFAULT_ENDPOINT, PoseSubscriber

parser = argparse.ArgumentParser(description="React when a body part enters a zone.")
parser.add_argument("endpoint", nargs="?", default=DEFAULT_ENDPOINT, help="where poses are published; %(default)s")
parser.add_argument("bodypart", nargs="?", help="the network's first by default")
parser.add_argument("--wait", metavar="SECONDS", type=float, default=60, help="for the run; %(default)s")
given = parser.parse_args()
LEFT, TOP, RIGHT, BOTTOM = 100, 80, 220, 160  # pixels of the recorded frame

with PoseSubscriber(given.endpoint, mode="latest") as poses:
    try:
        hello = poses.wait_for_hello(timeout_s=given.wait)
    except TimeoutError as error:
        parser.exit(1, f"{given.endpoint}: {error}\n")
    if given.bodypart is not None and given.bodypart not in hello.bodyparts:
        parser.error(f"the network has no {given.bodypart}; it has {', '.join(hello.bodyparts)}")
    part = hello.bodyparts.index(given.bodypart) if given.bodypart is not None else 0
    inside = False
    for pose in poses:
        x, y, likelihood = pose.keypoints[part]
        was_inside, inside = inside, likelihood > 0.6 and LEFT < x < RIGHT and TOP < y < BOTTOM
        if inside and not was_inside:
            age_ms = (pose.header.published_ns - pose.header.captured_ns) / 1e6
            where = f"{hello.bodyparts[part]} entered at {x:.0f}, {y:.0f}"
            print(f"frame {pose.header.frame_seq}: {where}; pose {age_ms:.0f} ms old")
    print(f"{poses.received} poses, {poses.lost.total()} lost")
