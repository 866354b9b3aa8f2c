# Precompiled headers: what most files include is parsed once for a build, not once for each file. Only headers of other
# projects, which do not change. A file still includes all that it uses, which a release build with
# GODWIT_UNITY_BUILD=OFF notices: there, only tests have them. (With them, GCC 12's optimiser sees faults in the
# standard library that are none.)
option(GODWIT_PRECOMPILED_HEADERS "Parse the headers of other projects once for all files, not for tests alone (clang)"
       OFF)

set(godwit_common_headers
  <algorithm> <array> <atomic> <chrono> <condition_variable> <cstring> <deque> <functional> <map> <memory> <mutex>
  <optional> <span> <string> <string_view> <thread> <utility> <vector> <fmt/core.h> <tl/expected.hpp>)

# godwit_headers(NAME HEADER... [LIBS LIBRARY...]): the common headers and these, for godwit_target(TARGET NAME).
function(godwit_headers name)
  if(NOT GODWIT_PRECOMPILED_HEADERS AND NOT name STREQUAL test_headers)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 HEADERS "" "" "LIBS")
  file(GENERATE OUTPUT ${name}.cc CONTENT "// Carries precompiled headers.\n")
  add_library(${name} OBJECT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  godwit_target(${name} NONE)
  if(name STREQUAL test_headers)
    godwit_compile_as_test(${name})
  endif()
  target_link_libraries(${name} PRIVATE fmt::fmt tl::expected Threads::Threads ${HEADERS_LIBS})
  target_precompile_headers(${name} PRIVATE ${godwit_common_headers} ${HEADERS_UNPARSED_ARGUMENTS})
endfunction()

# Tests wait, mostly, and there is more of them than of what they test: compiling them costs more than running them.
function(godwit_compile_as_test target)
  target_compile_options(${target} PRIVATE -O0 -g1)
endfunction()

# godwit_use_headers(TARGET NAME): NAME may be NONE. A target with test_headers is compiled as a test.
function(godwit_use_headers target name)
  if(name STREQUAL test_headers)
    godwit_compile_as_test(${target})
    target_precompile_headers(${target} REUSE_FROM ${name})
  elseif(GODWIT_PRECOMPILED_HEADERS AND NOT name STREQUAL NONE)
    target_precompile_headers(${target} REUSE_FROM ${name})
  endif()
endfunction()

godwit_headers(common_headers)
godwit_headers(json_headers <nlohmann/json.hpp> LIBS nlohmann_json::nlohmann_json)
godwit_headers(test_headers <gtest/gtest.h> <random> LIBS GTest::gtest)
