# A module is a static library with an include root of its own. It sees the headers of the modules it names in
# DEPS and of nothing else, so an arrow that points up does not compile.

function(coppice_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_library(coppice_${name} STATIC ${ARG_SOURCES})
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/include/*.h)
  target_sources(coppice_${name} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${headers})
  target_include_directories(coppice_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  list(TRANSFORM ARG_DEPS PREPEND coppice_)
  target_link_libraries(coppice_${name} PUBLIC ${ARG_DEPS} PRIVATE coppice_flags ${ARG_LIBS})
endfunction()

# A program. STATIC ones hold no shared library: they start fast and run in any root file system.
function(coppice_program name)
  cmake_parse_arguments(ARG "STATIC" "" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  list(TRANSFORM ARG_DEPS PREPEND coppice_)
  target_link_libraries(${name} PRIVATE coppice_flags ${ARG_DEPS} ${ARG_LIBS})
  target_compile_definitions(${name} PRIVATE COPPICE_VERSION="${PROJECT_VERSION}")
  if(ARG_STATIC AND NOT COPPICE_SANITIZE)
    target_link_options(${name} PRIVATE -static)
  endif()
endfunction()
