# libdl_cuda_shim.so: the files of libdl_cuda.so that call no library but CUDA's runtime, on a host
# that plays the GPU. DLTRAIN_CUDA_LIBRARY=.../libdl_cuda_shim.so dltrain --set device=cuda JOB
include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
  message(STATUS "no C++ compiler: the CUDA shim is not built")
  return()
endif()
enable_language(CXX)
file(GLOB DL_SHIM_KERNELS CONFIGURE_DEPENDS runtime/device/*_cuda.cu ops/*_cuda.cu)
set(DL_SHIM_SOURCES "")
foreach(file ${DL_SHIM_KERNELS}) # as C++: nvcc's own rule for .cu must not take them
  get_filename_component(name ${file} NAME_WE)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/shim/${name}.cpp CONTENT "#include \"${file}\"\n")
  list(APPEND DL_SHIM_SOURCES ${CMAKE_BINARY_DIR}/shim/${name}.cpp)
endforeach()
add_library(dl_cuda_shim SHARED ${DL_SHIM_SOURCES} runtime/device/device_cuda.c
            runtime/device/trial_cuda.c ops/kernels_cuda.c
            ops/pointwise_cuda.c tests/shim/fake_cuda.cpp tests/shim/fake_streams.cpp tests/shim/fake_blocks.cpp tests/shim/module_host.c
            comm/nccl_cuda.c comm/sum_cuda.c tests/shim/fake_nccl.c
            tests/shim/library_rows.c)
target_include_directories(dl_cuda_shim BEFORE PRIVATE ${CMAKE_SOURCE_DIR}/tests/shim
                           ${CMAKE_SOURCE_DIR})
target_compile_options(dl_cuda_shim PRIVATE $<$<COMPILE_LANGUAGE:C>:${DL_FLAGS}>
                       "$<$<COMPILE_LANGUAGE:CXX>:-std=c++20;-O2;-ffp-contract=off;-fno-math-errno;-Wall;-Wextra;-Wno-missing-field-initializers>")
if(DL_WERROR)
  target_compile_options(dl_cuda_shim PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(DL_ASAN)
  target_compile_options(dl_cuda_shim PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-g>)
endif()
set_target_properties(dl_cuda_shim PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
