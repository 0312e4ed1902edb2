# One precompiled <grpcpp/grpcpp.h> for all libraries that speak gRPC: the header costs seconds
# per file otherwise. Call heddle_use_grpc(target) from a library's CMakeLists.txt: it links
# gRPC and reuses the header. Libraries only: an executable is compiled -fPIE, for which the
# compiler refuses a header made with -fPIC.

function(heddle_find_grpc)
  if(TARGET heddle_grpc_pch)
    return()
  endif()
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(heddle_grpcpp REQUIRED IMPORTED_TARGET GLOBAL grpc++ protobuf)
  file(WRITE ${CMAKE_BINARY_DIR}/generated/grpc_pch.cc "// Carries the precompiled header.\n")
  add_library(heddle_grpc_pch STATIC ${CMAKE_BINARY_DIR}/generated/grpc_pch.cc)
  target_link_libraries(heddle_grpc_pch PUBLIC PkgConfig::heddle_grpcpp Threads::Threads)
  target_compile_options(heddle_grpc_pch PRIVATE -fpch-preprocess)
  target_precompile_headers(heddle_grpc_pch PRIVATE
    <grpcpp/grpcpp.h> <map> <memory> <string> <vector>)
endfunction()

function(heddle_use_grpc target)
  heddle_find_grpc()
  target_link_libraries(${target} PUBLIC PkgConfig::heddle_grpcpp Threads::Threads)
  target_compile_options(${target} PRIVATE -fpch-preprocess)
  target_precompile_headers(${target} REUSE_FROM heddle_grpc_pch)
endfunction()
