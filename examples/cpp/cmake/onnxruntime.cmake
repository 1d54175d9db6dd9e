# Defines kpextract::onnxruntime: from a distribution's package, from an unpacked release
# (-DONNXRUNTIME_ROOT), or headers and library from two places (the two variables below).
set(ONNXRUNTIME_ROOT "" CACHE PATH "Folder with include/ and lib/ of ONNX Runtime")
find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_cxx_api.h
          HINTS "${ONNXRUNTIME_ROOT}/include" PATH_SUFFIXES onnxruntime)
find_library(ONNXRUNTIME_LIBRARY onnxruntime HINTS "${ONNXRUNTIME_ROOT}/lib")
if(NOT ONNXRUNTIME_INCLUDE_DIR OR NOT ONNXRUNTIME_LIBRARY)
  message(FATAL_ERROR "ONNX Runtime was not found. Debian 13: apt-get install "
    "libonnxruntime-dev. Elsewhere: unpack a release of ONNX Runtime and give "
    "-DONNXRUNTIME_ROOT=FOLDER, or -DONNXRUNTIME_INCLUDE_DIR=FOLDER with "
    "-DONNXRUNTIME_LIBRARY=FILE (pip's is onnxruntime/capi/libonnxruntime.so.*).")
endif()
set(kpextract_library "${ONNXRUNTIME_LIBRARY}")
if(kpextract_library MATCHES "\\.so\\.1\\.")
  # pip's wheel has the file, but not the name by which a program asks for it.
  set(kpextract_library "${CMAKE_CURRENT_BINARY_DIR}/libonnxruntime.so.1")
  file(CREATE_LINK "${ONNXRUNTIME_LIBRARY}" "${kpextract_library}" SYMBOLIC)
endif()
if(NOT TARGET kpextract::onnxruntime)
  add_library(kpextract::onnxruntime UNKNOWN IMPORTED GLOBAL)
  set_target_properties(kpextract::onnxruntime PROPERTIES
    IMPORTED_LOCATION "${kpextract_library}"
    INTERFACE_INCLUDE_DIRECTORIES "${ONNXRUNTIME_INCLUDE_DIR}")
endif()
unset(kpextract_library)
