# Writes the files of cli/page into a C++ source, as the parts that cli/page_parts.h declares. Run by `cmake -P` with
# FOLDER (cli/page), SCRIPTS (names, in order, separated by commas) and OUTPUT.

# The library is as npm has it, or the build ends.
foreach(known
    uPlot.iife.min.js=19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f
    uPlot.min.css=df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04)
  string(REGEX MATCH "^([^=]+)=(.+)$" _ "${known}")
  set(name ${CMAKE_MATCH_1})
  set(expected ${CMAKE_MATCH_2})
  file(SHA256 ${FOLDER}/uplot/${name} found)
  if(NOT found STREQUAL expected)
    message(FATAL_ERROR "cli/page/uplot/${name} is not the file of cli/page/README.md: its SHA-256 is ${found}")
  endif()
endforeach()

file(READ ${FOLDER}/page.html frame)
file(READ ${FOLDER}/page.css style)
file(READ ${FOLDER}/uplot/uPlot.min.css library_style)
file(READ ${FOLDER}/uplot/uPlot.iife.min.js library_script)
set(scripts "")
string(REPLACE "," ";" names "${SCRIPTS}")
foreach(name ${names})
  file(READ ${FOLDER}/${name}.js script)
  string(APPEND scripts "${script}")
endforeach()

set(source "// Made of cli/page by cmake/embed_page.cmake.\n#include \"cli/page_parts.h\"\n\nnamespace godwit::cli {\n\n")
string(APPEND source "extern const PageParts kPageParts = {\n")
foreach(part frame style scripts library_style library_script)
  string(APPEND source "R\"page-part(${${part}})page-part\",\n")
endforeach()
string(APPEND source "};\n\n}  // namespace godwit::cli\n")
file(WRITE ${OUTPUT} "${source}")
