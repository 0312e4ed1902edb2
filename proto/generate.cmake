# heddle_generate(target directory protoc-option messages...)
# The .proto files `messages` (names without ending) and those of the list `services`, the latter
# with their gRPC stubs, generated into `directory` and compiled into a static library. The headers
# cost more than the code, so what can share a unit does; full messages cannot (their file-local
# names clash).
function(heddle_generate target directory option)
  list(TRANSFORM services PREPEND heddle/v1/ OUTPUT_VARIABLE stubs)
  set(inputs ${stubs} ${ARGN})
  list(TRANSFORM inputs PREPEND ${directory}/ OUTPUT_VARIABLE sources)
  list(TRANSFORM sources APPEND .pb.cc)
  list(TRANSFORM inputs APPEND .proto)
  if(NOT option)
    set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
  foreach(stub IN LISTS stubs)
    list(APPEND sources ${directory}/${stub}.grpc.pb.cc)
  endforeach()
  list(TRANSFORM stubs APPEND .proto OUTPUT_VARIABLE stub_inputs)
  file(GLOB protos CONFIGURE_DEPENDS ${root}/heddle/v1/*.proto ${root}/google/rpc/*.proto
       ${root}/grpc/health/v1/*.proto)
  add_custom_command(OUTPUT ${sources}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${directory}
    COMMAND ${HEDDLE_PROTOC} -I${root} -I/usr/include --cpp_out=${option}${directory} ${inputs}
    COMMAND ${HEDDLE_PROTOC} -I${root} -I/usr/include --grpc_out=${directory}
            --plugin=protoc-gen-grpc=${HEDDLE_GRPC_CPP_PLUGIN}
            ${stub_inputs}
    DEPENDS ${protos} VERBATIM)
  add_library(${target} STATIC ${sources})
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
  target_include_directories(${target} SYSTEM BEFORE PUBLIC ${directory})
  target_compile_options(${target} PRIVATE -w -fno-sanitize=all)
endfunction()

