#pragma once

/// TensorRT's headers include this file for two handle types only; with it they compile where no CUDA toolkit is
/// installed.
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
