# Arrow C++ 26: an installed package when CMake finds one, else the headers and libraries inside the pinned pyarrow
# wheel of .venv (the wheel has no CMake config). Defines Arrow::arrow: libarrow, libarrow_compute, libparquet; and
# Arrow::s3, the S3 file system, which only libgnomon_s3.so links.
find_package(Arrow 26 CONFIG QUIET)
find_package(Parquet 26 CONFIG QUIET)
if(TARGET Arrow::arrow_shared AND TARGET Parquet::parquet_shared)
  add_library(Arrow::arrow INTERFACE IMPORTED)
  target_link_libraries(Arrow::arrow INTERFACE Arrow::arrow_shared Parquet::parquet_shared)
  if(TARGET ArrowCompute::arrow_compute_shared)
    target_link_libraries(Arrow::arrow INTERFACE ArrowCompute::arrow_compute_shared)
  endif()
  add_library(Arrow::s3 INTERFACE IMPORTED)
  target_link_libraries(Arrow::s3 INTERFACE Arrow::arrow_shared)
  find_package(ArrowS3 26 CONFIG QUIET) # else it is part of libarrow
  if(TARGET ArrowS3::arrow_s3_shared)
    target_link_libraries(Arrow::s3 INTERFACE ArrowS3::arrow_s3_shared)
  endif()
  message(STATUS "Arrow: installed package ${Arrow_VERSION}")
else()
  file(GLOB pyarrow_dirs ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/pyarrow)
  if(NOT pyarrow_dirs)
    message(FATAL_ERROR "Arrow C++ 26 was not found, neither installed nor in .venv; run: make setup")
  endif()
  list(GET pyarrow_dirs 0 pyarrow)
  add_library(Arrow::arrow INTERFACE IMPORTED)
  target_include_directories(Arrow::arrow SYSTEM INTERFACE ${pyarrow}/include)
  target_link_libraries(Arrow::arrow INTERFACE
    ${pyarrow}/libparquet.so.2600 ${pyarrow}/libarrow_compute.so.2600 ${pyarrow}/libarrow.so.2600)
  # The wheel's libparquet exports OpenSSL's and simdjson's names: the real libraries come first, and link options come
  # before all libraries. Otherwise libcrypto's own calls, and ours of simdjson, end in libparquet.
  target_link_options(Arrow::arrow INTERFACE "LINKER:-rpath,${pyarrow}" "LINKER:--push-state,--no-as-needed"
    ${OPENSSL_SSL_LIBRARY} ${OPENSSL_CRYPTO_LIBRARY} $<TARGET_FILE:simdjson::simdjson> "LINKER:--pop-state")
  add_library(Arrow::s3 INTERFACE IMPORTED)
  target_include_directories(Arrow::s3 SYSTEM INTERFACE ${pyarrow}/include)
  target_link_libraries(Arrow::s3 INTERFACE ${pyarrow}/libarrow_s3.so.2600 ${pyarrow}/libarrow.so.2600)
  target_link_options(Arrow::s3 INTERFACE "LINKER:-rpath,${pyarrow}")
  message(STATUS "Arrow: ${pyarrow}")
endif()
