"""`python -m posestream.inference --control ADDRESS`: an inference process by itself."""

import sys

from posestream.inference.live.process import main

sys.exit(main())
