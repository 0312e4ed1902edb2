# Tells heddle_bench_pair which peers it can be built with.
function(bench_peer name)
  target_compile_definitions(heddle_bench_pair PRIVATE HEDDLE_BENCH_${name})
  target_link_libraries(heddle_bench_pair PRIVATE ${ARGN})
  message(STATUS "benchmarks: ${name}")
endfunction()

find_path(HEDDLE_BOOST_INCLUDE boost/interprocess/ipc/message_queue.hpp)
if(HEDDLE_BOOST_INCLUDE)
  bench_peer(BOOST)
endif()

pkg_check_modules(zeromq QUIET IMPORTED_TARGET libzmq)
if(zeromq_FOUND)
  bench_peer(ZEROMQ PkgConfig::zeromq)
endif()

pkg_check_modules(hiredis QUIET IMPORTED_TARGET hiredis)
if(hiredis_FOUND)
  bench_peer(REDIS PkgConfig::hiredis)
endif()

find_package(iceoryx_hoofs QUIET)
find_package(iceoryx_posh QUIET)
if(iceoryx_posh_FOUND)
  bench_peer(ICEORYX iceoryx_posh::iceoryx_posh)
endif()

find_path(HEDDLE_NATS_INCLUDE nats/nats.h)
find_library(HEDDLE_NATS_LIBRARY nats)
if(HEDDLE_NATS_INCLUDE AND HEDDLE_NATS_LIBRARY)
  bench_peer(NATS ${HEDDLE_NATS_LIBRARY})
endif()
