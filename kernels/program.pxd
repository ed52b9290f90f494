# Derived from lenet_fast/engines/program.py, which explains it: see there.


cdef enum Kind:
    CONVOLUTION = 0
    CONVOLUTION_ALONG_COLUMNS = 1
    CONVOLUTION_ALONG_MAPS = 2
    SUBSAMPLING = 3
    MAXIMUM = 4
    ACTIVATION = 5
    FULL = 6
    DISTANCES = 7
    DROPOUT = 8


cdef enum Activation:
    NO_ACTIVATION = -1
    SCALED_TANH = 0
    TANH = 1
    SIGMOID = 2
    RELU = 3
    LEAKY_RELU = 4
    ELU = 5
    GELU = 6
    GELU_TANH = 7


cdef enum ItemKind:
    FORWARD = 0
    GRADIENT = 1
    CURVATURE = 2
    EXAMPLES = 3
    CLIPPED = 4
    UPDATE = 5


cdef enum LossKind:
    CROSS_ENTROPY = 0
    SQUARED_ERROR = 1
    MAP = 2
    PENALTY = 3


cdef enum Rule:
    NO_RULE = 0
    SGD = 1
    ADAMW = 2
    ADAM = 3
    RMSPROP = 4
    ADADELTA = 5


cdef struct Step:
    Py_ssize_t kind
    Py_ssize_t activation
    double option
    Py_ssize_t x
    Py_ssize_t y
    Py_ssize_t dx
    Py_ssize_t dy
    Py_ssize_t w
    Py_ssize_t b
    Py_ssize_t unit
    Py_ssize_t learns
    Py_ssize_t passes
    Py_ssize_t c_in
    Py_ssize_t h_in
    Py_ssize_t w_in
    Py_ssize_t c_out
    Py_ssize_t h_out
    Py_ssize_t w_out
    Py_ssize_t kh
    Py_ssize_t kw
    Py_ssize_t stride_v
    Py_ssize_t stride_h
    Py_ssize_t dilation_v
    Py_ssize_t dilation_h
    Py_ssize_t top
    Py_ssize_t left
    Py_ssize_t h_bare
    Py_ssize_t w_bare
    double scale
    double pad_value
    Py_ssize_t padded
    Py_ssize_t d_padded
    Py_ssize_t sums_w
    Py_ssize_t sums_b
    Py_ssize_t table
    Py_ssize_t width
    Py_ssize_t mask
    Py_ssize_t planar
    Py_ssize_t pitch
    Py_ssize_t numbers
    Py_ssize_t kept
    Py_ssize_t work
    Py_ssize_t rows


cdef struct Input:
    Py_ssize_t at
    Py_ssize_t maps
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t planar
    double background
    double foreground
    Py_ssize_t size
    Py_ssize_t tiles
    Py_ssize_t split


cdef struct Item:
    Py_ssize_t kind
    Py_ssize_t first
    Py_ssize_t last
    Py_ssize_t opened
    Py_ssize_t block
    Py_ssize_t images
    Py_ssize_t step
    Py_ssize_t start


cdef struct Loss:
    Py_ssize_t kind
    double floor
    double scale
    double on
    double off
    double smoothing
    Py_ssize_t exact
    Py_ssize_t smallest_wins


cdef struct Update:
    Py_ssize_t rule
    double rate
    double momentum
    Py_ssize_t nesterov
    double weight_decay
    double beta1
    double beta2
    double epsilon
    Py_ssize_t done
    Py_ssize_t seed


cdef struct Binding:
    Py_ssize_t step
    Py_ssize_t bias
    Py_ssize_t pitch
    Py_ssize_t place
    Py_ssize_t first
    Py_ssize_t count
