# godwit_target(TARGET [HEADERS]): the warnings, include root and sanitizers that every target of ours has, and which
# precompiled headers it uses (precompiled_headers.cmake; without a word, common_headers).
function(godwit_target target)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
                         ${godwit_folder_warnings})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Linux kernel and io_uring structures are C and leave fields out of designated initialisers.
    target_compile_options(${target} PRIVATE -Wno-missing-field-initializers)
  endif()
  if(GODWIT_SANITIZE)
    target_compile_options(${target} PUBLIC -fsanitize=${GODWIT_SANITIZE} -fno-sanitize-recover=all
                           -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${GODWIT_SANITIZE})
    # False with sanitizers, as GCC's manual says (-fsanitize=).
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
    endif()
  endif()
  if(GODWIT_FUZZERS)
    # Coverage feedback; the fuzzer itself is linked by godwit_fuzzer() (tests/fuzz).
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(ARGC GREATER 1)
    godwit_use_headers(${target} ${ARGV1})
  else()
    godwit_use_headers(${target} common_headers)
  endif()
endfunction()
