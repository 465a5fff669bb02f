# Language level, warnings, sanitizers and the compiler cache: everything that holds for every target.

option(COPPICE_TESTS "Build the tests" ON)
option(COPPICE_WERROR "Treat every warning as an error (checks; not for users' compilers)" OFF)
option(COPPICE_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
set(COPPICE_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON) # TRY is a GNU statement expression
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON) # target all_verify_interface_header_sets: each public header compiles alone

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
# Small before fast: a start spends its time in the kernel, and every page of code that it touches is one to map.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-Os -g1 -DNDEBUG")

find_program(COPPICE_CCACHE ccache)
if(COPPICE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${COPPICE_CCACHE})
endif()

add_library(coppice_flags INTERFACE)
target_compile_options(coppice_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor
  -Werror=unused-result -Werror=return-type -Werror=switch
  -fno-plt -fstack-protector-strong
  $<$<BOOL:${COPPICE_WERROR}>:-Werror>
  $<$<CONFIG:RelWithDebInfo>:-ffunction-sections -fdata-sections -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
target_compile_definitions(coppice_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64 JSON_NO_IO)
target_link_options(coppice_flags INTERFACE -Wl,--gc-sections -Wl,-z,relro,-z,now)
if(COPPICE_SANITIZE)
  target_compile_options(coppice_flags INTERFACE -fsanitize=${COPPICE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(coppice_flags INTERFACE -fsanitize=${COPPICE_SANITIZE})
  if(COPPICE_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(coppice_flags INTERFACE -Wno-tsan) # Asio's fences; nothing of ours relies on them
  endif()
endif()
