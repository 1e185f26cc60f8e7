# libdl_cuda_shim.so: the files of libdl_cuda.so on a host that plays the GPU and CUDA's libraries;
# only what compiles emitted text is another.
# DLTRAIN_CUDA_LIBRARY=.../libdl_cuda_shim.so dltrain --set device=cuda JOB
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
file(GLOB DL_SHIM_CALLERS CONFIGURE_DEPENDS runtime/*/*_cuda.c ops/*_cuda.c comm/*_cuda.c)
list(FILTER DL_SHIM_CALLERS EXCLUDE REGEX "/module_cuda\\.c$") # tests/shim/module_host.c
file(GLOB DL_SHIM_FAKES CONFIGURE_DEPENDS tests/shim/*.c tests/shim/*.cpp)
add_library(dl_cuda_shim SHARED ${DL_SHIM_SOURCES} ${DL_SHIM_CALLERS} ${DL_SHIM_FAKES})
target_include_directories(dl_cuda_shim BEFORE PRIVATE ${CMAKE_SOURCE_DIR}/tests/shim
                           ${CMAKE_SOURCE_DIR})
target_compile_options(dl_cuda_shim PRIVATE $<$<COMPILE_LANGUAGE:C>:${DL_FLAGS}>
                       "$<$<COMPILE_LANGUAGE:CXX>:-std=c++20;-O2;-ffp-contract=off;-fno-math-errno;-Wall;-Wextra;-Wno-missing-field-initializers>")
# What does the arithmetic of whole jobs.
set_source_files_properties(tests/shim/fake_cublaslt_product.cpp tests/shim/fake_cudnn_conv.cpp
                            PROPERTIES COMPILE_OPTIONS "-O3")
if(DL_WERROR)
  target_compile_options(dl_cuda_shim PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(DL_ASAN)
  target_compile_options(dl_cuda_shim PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-g>)
endif()
set_target_properties(dl_cuda_shim PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
