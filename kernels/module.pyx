# The compiled kernels: one module of all files, in an order in which each needs only those before
# it. setup.py compiles this text once per instruction set.

include "vector/gemm.pxi"
include "layers/activations.pxi"
include "layers/conv2d.pxi"
include "layers/conv2d_im2col.pxi"
include "layers/subsample2d.pxi"
include "layers/pool2d.pxi"
include "layers/dense.pxi"
include "layers/rbf.pxi"
include "layers/dropout.pxi"
include "layers/losses.pxi"
include "layers/optimisers.pxi"
include "single/conv2d_columns.pxi"
include "single/conv2d_maps.pxi"
include "single/pool2d.pxi"
include "single/dense.pxi"
include "engines/steps.pxi"
include "engines/lanes_run.pxi"
include "engines/lanes_images.pxi"
include "engines/lanes_steps.pxi"
include "engines/lanes_examples.pxi"
include "engines/lanes.pxi"
include "engines/online_run.pxi"
include "engines/online_images.pxi"
include "engines/online_steps.pxi"
include "engines/online.pxi"
include "engines/online_predict.pxi"
include "images/warp.pxi"

# What has a twin in every backend: the operations. The engines' loops have none.
OTHERS = (
    "lane_counts", "LanesProgram", "LanesHelpers", "run_lanes", "run_online", "OnlineWorkspace",
    "OnlinePredictor",
)
KERNELS = sorted(
    name for name, value in globals().items()
    if callable(value) and not name.startswith("_") and name not in OTHERS
)
