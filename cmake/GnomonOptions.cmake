# gnomon_options: the flags of our own code. Third-party includes are SYSTEM.
add_library(gnomon_options INTERFACE)
target_include_directories(gnomon_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(gnomon_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False positives of g++ 12 on std::string and std::variant at -O2.
  target_compile_options(gnomon_options INTERFACE -Wno-restrict -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-array-bounds)
endif()
if(GNOMON_WERROR)
  target_compile_options(gnomon_options INTERFACE -Werror)
endif()
if(GNOMON_MARCH)
  target_compile_options(gnomon_options INTERFACE -march=${GNOMON_MARCH})
endif()
target_link_libraries(gnomon_options INTERFACE Threads::Threads)

add_custom_target(sanitize)
add_custom_target(sanitize_gate)
if(GNOMON_SANITIZE STREQUAL "address")
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
elseif(GNOMON_SANITIZE STREQUAL "thread")
  set(sanitizers -fsanitize=thread -fno-omit-frame-pointer)
elseif(GNOMON_SANITIZE)
  message(FATAL_ERROR "GNOMON_SANITIZE is 'address' or 'thread', not '${GNOMON_SANITIZE}'")
endif()
if(GNOMON_SANITIZE)
  target_compile_options(gnomon_options INTERFACE ${sanitizers})
  target_link_options(gnomon_options INTERFACE ${sanitizers})
  target_compile_definitions(gnomon_options INTERFACE _GLIBCXX_ASSERTIONS)
endif()

# One precompiled header for all modules: Arrow and the standard library. The header self-containment check builds
# without it, so it cannot hide a missing include.
if(GNOMON_PCH)
  add_library(gnomon_pch STATIC ${PROJECT_SOURCE_DIR}/cmake/pch.cc)
  target_link_libraries(gnomon_pch PRIVATE gnomon_options Arrow::arrow)
  target_precompile_headers(gnomon_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.h)
endif()
