# libtorch from the pinned torch wheel, unpacked in part by tools/setup. Defines Torch::torch (torch_cpu and c10:
# libtorch.so itself needs libtorch_cuda). GNOMON_TORCH_FOUND says whether it is there.
set(torch_root ${PROJECT_SOURCE_DIR}/build/deps/torch)
if(NOT EXISTS ${torch_root}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch was not found in build/deps/torch; run: make setup")
endif()
add_library(Torch::torch INTERFACE IMPORTED)
target_include_directories(Torch::torch SYSTEM INTERFACE
  ${torch_root}/include ${torch_root}/include/torch/csrc/api/include)
target_link_libraries(Torch::torch INTERFACE ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so)
target_link_options(Torch::torch INTERFACE "LINKER:-rpath,${torch_root}/lib")
