# How GoogleTest executables become tests of ctest's.
include(GoogleTest)

# Under sanitizers without hwloc's plugins: the one that looks at PCI devices loses memory.
if(GODWIT_SANITIZE)
  set(godwit_test_environment HWLOC_PLUGINS_PATH=/nonexistent)
endif()

# godwit_tests(TARGET LABEL [SINGLE_THREADED]): each test of an executable becomes one of ctest's. SINGLE_THREADED says
# that nothing in it has a second thread, so that ThreadSanitizer has nothing to find: it neither builds nor runs it.
function(godwit_tests target label)
  if("SINGLE_THREADED" IN_LIST ARGN AND GODWIT_SANITIZE STREQUAL "thread")
    set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
  else()
    gtest_discover_tests(${target} PROPERTIES LABELS ${label} TIMEOUT 120 ENVIRONMENT "${godwit_test_environment}"
                                              DISCOVERY_TIMEOUT 30)
  endif()
endfunction()
