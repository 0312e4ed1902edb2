# heddle_test(NAME name SOURCES a.cc... [LIBS lib...] [LABELS l...] [TIMEOUT s] [RUN_SERIAL])
# A GoogleTest program. Labels: folder names, "asan" and "tsan" for the sanitizer runs, "long",
# "bench". TIMEOUT (seconds, default 60) is ctest's; each test also has the 30 s watchdog of
# tests/support.
find_package(GTest REQUIRED)

function(heddle_test)
  cmake_parse_arguments(T "RUN_SERIAL" "NAME;TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(T_UNPARSED_ARGUMENTS OR NOT T_NAME OR NOT T_SOURCES)
    message(FATAL_ERROR "heddle_test: NAME and SOURCES are needed; got ${ARGN}")
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  target_link_libraries(${T_NAME} PRIVATE ${T_LIBS} heddle_test_support)
  set_target_properties(${T_NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${T_NAME} COMMAND ${T_NAME} --gtest_brief=1)
  heddle_test_properties(${T_NAME} "${T_LABELS}" "${T_TIMEOUT}" "${T_RUN_SERIAL}")
endfunction()

# heddle_script_test(NAME name COMMAND cmd... [LABELS l...] [TIMEOUT s] [RUN_SERIAL])
# Exit status 77 is a skip; its last line of output is the reason.
function(heddle_script_test)
  cmake_parse_arguments(T "RUN_SERIAL" "NAME;TIMEOUT" "COMMAND;LABELS" ${ARGN})
  add_test(NAME ${T_NAME} COMMAND ${T_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  heddle_test_properties(${T_NAME} "${T_LABELS}" "${T_TIMEOUT}" "${T_RUN_SERIAL}")
endfunction()

function(heddle_test_properties name labels timeout serial)
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  if(NOT timeout)
    set(timeout 60)
  endif()
  set_tests_properties(${name} PROPERTIES
    LABELS "${folder};${labels}" SKIP_RETURN_CODE 77 TIMEOUT ${timeout}
    ENVIRONMENT "HEDDLE_BUILD_DIR=${CMAKE_BINARY_DIR};HEDDLE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
  if(serial)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()
