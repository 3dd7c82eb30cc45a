"""`clinometer.engine.passes` under the name it had before the engine was a room; for one version."""

import sys
import warnings

from clinometer.engine import passes

warnings.warn("clinometer.passes has moved to clinometer.engine.passes", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = passes
