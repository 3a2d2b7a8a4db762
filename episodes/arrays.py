"""The arrays that pass between the rooms; needs nothing but NumPy."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Frame = NDArray[np.uint8]  # (H, W, 3) RGB, or several
