# heddle_test(NAME name SOURCES a.cc... [LIBS lib...] [LABELS l...] [TIMEOUT s] [RUN_SERIAL]
#             [DAEMON])
# A GoogleTest program. DAEMON: it starts the built heddled, which is then built before it; with
# a sanitizer its broker is without the gRPC plane (tests/integration).
# heddle_script_test(NAME name COMMAND cmd... [LABELS l...] [TIMEOUT s] [RUN_SERIAL] [DAEMON])
# Exit status 77 is a skip; its last line of output is the reason.
#
# Labels: the folder is one by itself; "asan" and "tsan" take part in the sanitizer runs (build
# targets asan_tests, tsan_tests), "slow" is left out by --quick, "long" runs with --long only.
# TIMEOUT (seconds, default 60, an hour under --long) is ctest's; each GoogleTest case also has
# the 30 s watchdog of tests/support. Under --long tests see HEDDLE_LONG=1. What may take longest
# starts first, so that no core is idle at the end.
find_package(GTest REQUIRED)
option(HEDDLE_LONG_TESTS "Run soaks with their long figures" OFF)
add_custom_target(asan_tests)
add_custom_target(tsan_tests)

# The header of GoogleTest costs seconds per program: it is compiled once. By a program, since those
# are compiled -fPIE and a library is not.
file(WRITE ${CMAKE_BINARY_DIR}/generated/test_pch.cc "int main() {}\n")
add_executable(heddle_test_pch ${CMAKE_BINARY_DIR}/generated/test_pch.cc)
target_link_libraries(heddle_test_pch PRIVATE GTest::gtest Threads::Threads)
target_compile_options(heddle_test_pch PRIVATE -fpch-preprocess $<$<CONFIG:Release>:-O0>)
target_precompile_headers(heddle_test_pch PRIVATE <gtest/gtest.h> <atomic> <chrono> <functional>
                          <map> <random> <thread>)

function(heddle_test)
  cmake_parse_arguments(T "RUN_SERIAL;DAEMON" "NAME;TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(T_UNPARSED_ARGUMENTS OR NOT T_NAME OR NOT T_SOURCES)
    message(FATAL_ERROR "heddle_test: NAME and SOURCES are needed; got ${ARGN}")
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  target_link_libraries(${T_NAME} PRIVATE ${T_LIBS} heddle_test_support)
  set_target_properties(${T_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR}/tests ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT folder MATCHES "^crash")
    # Half the time to compile; what is tested is optimized. Step tests look at memory too often.
    target_compile_options(${T_NAME} PRIVATE -fpch-preprocess $<$<CONFIG:Release>:-O0>)
    target_precompile_headers(${T_NAME} REUSE_FROM heddle_test_pch)
  endif()
  add_test(NAME ${T_NAME} COMMAND ${T_NAME} --gtest_brief=1)
  heddle_test_properties(${T_NAME} "${T_LABELS}" "${T_TIMEOUT}" ${T_RUN_SERIAL})
  foreach(label IN ITEMS asan tsan)
    if(label IN_LIST T_LABELS)
      add_dependencies(${label}_tests ${T_NAME})
    endif()
  endforeach()
  if(T_DAEMON)
    heddle_needs_daemon(${T_NAME})
  endif()
endfunction()

function(heddle_script_test)
  cmake_parse_arguments(T "RUN_SERIAL;DAEMON" "NAME;TIMEOUT" "COMMAND;LABELS" ${ARGN})
  if(T_UNPARSED_ARGUMENTS OR NOT DEFINED T_NAME OR NOT DEFINED T_COMMAND)
    message(FATAL_ERROR "heddle_script_test: NAME and COMMAND are needed; got ${ARGN}")
  endif()
  add_test(NAME ${T_NAME} COMMAND ${T_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  heddle_test_properties(${T_NAME} "${T_LABELS}" "${T_TIMEOUT}" ${T_RUN_SERIAL})
  if(T_DAEMON AND "asan" IN_LIST T_LABELS)
    heddle_needs_daemon(asan_tests)
  endif()
endfunction()

function(heddle_needs_daemon target)
  if(HEDDLE_SANITIZE)
    set(programs heddled heddle-broker-local)
  else()
    set(programs heddled heddle-broker heddle)
  endif()
  foreach(program IN LISTS programs)
    if(TARGET ${program})
      add_dependencies(${target} ${program})
    endif()
  endforeach()
endfunction()

function(heddle_test_properties name labels timeout serial)
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR}/tests ${CMAKE_CURRENT_SOURCE_DIR})
  string(REGEX REPLACE "/.*" "" folder "${folder}")
  set(environment HEDDLE_BUILD_DIR=${CMAKE_BINARY_DIR} HEDDLE_SOURCE_DIR=${PROJECT_SOURCE_DIR}
      HEDDLE_PYTHON=${HEDDLE_PYTHON} GTEST_OUTPUT=xml:${CMAKE_BINARY_DIR}/results/${name}.xml)
  if(NOT timeout)
    set(timeout 60)
  endif()
  set(cost ${timeout})
  if(HEDDLE_LONG_TESTS)
    set(timeout 3600)
    list(APPEND environment HEDDLE_LONG=1)
  endif()
  set_tests_properties(${name} PROPERTIES
    LABELS "${folder};${labels}" SKIP_RETURN_CODE 77 TIMEOUT ${timeout} COST ${cost}
    RUN_SERIAL ${serial} ENVIRONMENT "${environment}")
endfunction()
