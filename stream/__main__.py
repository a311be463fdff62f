"""`python -m posestream.stream --control ADDRESS`: a pose recorder by itself."""

import sys

from posestream.stream.run.pose_recorder import main

sys.exit(main())
