"""`python -m posestream.acquisition --control ADDRESS --name CAMERA`: a camera process by itself."""

import sys

from posestream.acquisition.process import main

sys.exit(main())
