"""`clinometer.stream.fold_file` under the name it had before streams were a room; for one version."""

import sys
import warnings

from clinometer.stream import fold_file

warnings.warn("clinometer.foldfile has moved to clinometer.stream.fold_file", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = fold_file
