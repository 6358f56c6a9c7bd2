# gnomon_add_fuzz_harness(<name> MODULE <module> MUTATIONS <count> LINK <targets...>)
#
# fuzz/<name>_fuzz.cc defines LLVMFuzzerTestOneInput over the module's parsers, fuzz/corpus/<name>/ holds its first
# inputs, and fuzz/<name>.dict (optional, libFuzzer's format) words of the language. Call it after gnomon_add_module.
#
# In every tree with tests, the module's test program replays the corpus and `count` seeded mutations of it. With
# GNOMON_FUZZ (clang++, the preset `fuzz`, `make fuzz`) it also becomes the libFuzzer program <name>_fuzz.

add_custom_target(fuzz)

function(gnomon_add_fuzz_harness name)
  cmake_parse_arguments(arg "" "MODULE;MUTATIONS" "LINK" ${ARGN})
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_MODULE OR NOT arg_MUTATIONS)
    message(FATAL_ERROR "gnomon_add_fuzz_harness(${name}): give MODULE and MUTATIONS; unknown: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT TARGET gnomon_${arg_MODULE})
    return() # GNOMON_FOLDERS leaves it out
  endif()
  set(harness ${PROJECT_SOURCE_DIR}/fuzz/${name}_fuzz.cc)
  if(GNOMON_TESTS)
    # Programs with several harnesses need several names for the one function.
    add_library(${name}_replay OBJECT ${harness} ${PROJECT_SOURCE_DIR}/tests/support/fuzz_replay.cc)
    target_compile_definitions(${name}_replay PRIVATE LLVMFuzzerTestOneInput=FuzzOneInputOf_${name}
      GNOMON_FUZZ_HARNESS="${name}" GNOMON_FUZZ_MUTATIONS=${arg_MUTATIONS})
    target_link_libraries(${name}_replay PRIVATE gnomon_options gnomon_${arg_MODULE} gnomon_test_support ${arg_LINK})
    gnomon_use_pch(${name}_replay)
    target_link_libraries(${arg_MODULE}_test PRIVATE ${name}_replay ${arg_LINK})
  endif()
  if(GNOMON_FUZZ)
    add_executable(${name}_fuzz EXCLUDE_FROM_ALL ${harness})
    target_link_libraries(${name}_fuzz PRIVATE gnomon_options gnomon_${arg_MODULE} ${arg_LINK})
    target_include_directories(${name}_fuzz PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzz ${name}_fuzz)
  endif()
endfunction()
