# CUDA: found or not, by PERGRAD_CUDA. With it every floor's kernels_cuda.cu is compiled, and core gets the device
# cuda:i; without it core/gpu/no_cuda.cpp says that there is none.

set(PERGRAD_HAS_CUDA OFF)
if(NOT PERGRAD_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  # A Python wheel has no link libcudnn.so, only the library with its version.
  find_path(CUDNN_INCLUDE cudnn.h HINTS ${CUDNN_ROOT}/include ENV CUDNN_ROOT PATH_SUFFIXES include
    PATHS /usr/local/cuda/include)
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${CUDNN_ROOT}/lib ${CUDNN_ROOT}/lib64 ENV CUDNN_ROOT
    PATH_SUFFIXES lib lib64 PATHS /usr/local/cuda/lib64)
  if(CMAKE_CUDA_COMPILER AND CUDNN_INCLUDE AND CUDNN_LIBRARY)
    set(PERGRAD_HAS_CUDA ON)
  elseif(PERGRAD_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PERGRAD_CUDA=ON: CUDA compiler: ${CMAKE_CUDA_COMPILER}, cudnn.h: ${CUDNN_INCLUDE}, "
      "libcudnn: ${CUDNN_LIBRARY}; set CUDACXX or CUDNN_ROOT")
  endif()
endif()

if(NOT PERGRAD_HAS_CUDA)
  target_sources(pergrad_core PRIVATE core/gpu/no_cuda.cpp)
  return()
endif()

# Machine code for Ampere, Hopper and consumer Blackwell; PTX of Hopper for 10.x, of the last one for what comes after.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90 120)
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)

# nvcc defines no macro by which a kernel could refuse it (as core/exec.h does for the processor).
if("${CMAKE_CUDA_FLAGS} ${CMAKE_CUDA_FLAGS_${CMAKE_BUILD_TYPE}} $ENV{NVCC_PREPEND_FLAGS} $ENV{NVCC_APPEND_FLAGS}" MATCHES "fast[-_]math|ftz")
  message(FATAL_ERROR "fast-math flags for CUDA: refused, the privacy argument counts roundings")
endif()

# Options for kernels: no contraction and no fast-math, as on the processor; warnings are errors. (-Wpedantic
# would complain of what nvcc writes.)
add_library(pergrad_cuda_options INTERFACE)
target_compile_options(pergrad_cuda_options INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false
  -Xcompiler=-Wall,-Wextra $<$<BOOL:${PERGRAD_WERROR}>:-Werror=all-warnings>>)

# pergrad_cuda_kernels(target file...): the instantiations of one floor.
function(pergrad_cuda_kernels target)
  add_library(${target}_cuda OBJECT ${ARGN})
  target_include_directories(${target}_cuda PRIVATE ${PROJECT_SOURCE_DIR} ${CUDNN_INCLUDE})
  target_compile_definitions(${target}_cuda PRIVATE PG_CUDA)
  target_link_libraries(${target}_cuda PRIVATE pergrad_cuda_options CUDA::cudart_static)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_cuda>)
endfunction()

target_compile_definitions(pergrad_core PUBLIC PG_CUDA)
target_sources(pergrad_core PRIVATE core/gpu/cuda.cpp)
pergrad_cuda_kernels(pergrad_core core/gpu/kernels_cuda.cu)
target_include_directories(pergrad_core SYSTEM PRIVATE ${CUDNN_INCLUDE})
target_link_libraries(pergrad_core PUBLIC CUDA::cudart_static CUDA::cublas ${CUDNN_LIBRARY})
target_compile_definitions(pergrad_core PRIVATE PG_CUDA_VERSION="${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR}")
