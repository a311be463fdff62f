"""Reacts when a body part enters a zone: python examples/closed_loop.py [ENDPOINT] [BODYPART].

Start it before or during `posestream run`; it ends with the session.
"""

import sys

from posestream.stream.subscribers import DEFAULT_ENDPOINT, PoseSubscriber

endpoint = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_ENDPOINT
LEFT, TOP, RIGHT, BOTTOM = 100, 80, 220, 160  # pixels of the recorded frame

with PoseSubscriber(endpoint, mode="latest") as poses:
    hello = poses.wait_for_hello(timeout_s=60)
    part = hello.bodyparts.index(sys.argv[2]) if len(sys.argv) > 2 else 0
    inside = False
    for pose in poses:
        x, y, likelihood = pose.keypoints[part]
        was_inside, inside = inside, likelihood > 0.6 and LEFT < x < RIGHT and TOP < y < BOTTOM
        if inside and not was_inside:
            age_ms = (pose.header.published_ns - pose.header.captured_ns) / 1e6
            where = f"{hello.bodyparts[part]} entered at {x:.0f}, {y:.0f}"
            print(f"frame {pose.header.frame_seq}: {where}; pose {age_ms:.0f} ms old")
    print(f"{poses.received} poses, {poses.lost.total()} lost")
