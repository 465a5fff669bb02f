# Tests carry one label: unit, root, system, fuzz or bench; those of root that hammer with threads "threads" as well, for
# the thread sanitizer. Exit status 77 means skipped, with the reason printed.

find_package(GTest REQUIRED)

# coppice_test(NAME label SOURCES ... DEPS module ... [LIBS ...]): a GoogleTest program, one ctest entry.
function(coppice_test name label)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  list(TRANSFORM ARG_DEPS PREPEND coppice_)
  target_link_libraries(${name} PRIVATE coppice_flags ${ARG_DEPS} ${ARG_LIBS} coppice_test_support)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT 300)
  coppice_lock_host(${name} ${label})
endfunction()

# coppice_script_test(NAME label COMMAND ...): a script that drives the built programs.
function(coppice_script_test name label)
  cmake_parse_arguments(ARG "" "TIMEOUT" "COMMAND" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${ARG_COMMAND})
  set_tests_properties(${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "COPPICE_BIN=${CMAKE_BINARY_DIR}/bin")
  coppice_lock_host(${name} ${label})
endfunction()

# Tests that look at the host for leftovers must not see each other's work: one of them at a time.
function(coppice_lock_host name label)
  if(label MATCHES "^(root|system)$")
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK host)
  endif()
endfunction()
