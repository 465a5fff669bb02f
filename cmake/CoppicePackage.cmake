# Install rules (make install) and the Debian package (make deb). Everything that exists is installed, so that a build
# without, say, completions is still installable.

include(GNUInstallDirs)

foreach(program coppice coppiced coppice-runtime)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
if(TARGET coppice-supervisor) # started by coppice only, and in instances
  install(TARGETS coppice-supervisor coppice-init RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/coppice)
endif()

# coppice_install_as(FILE DIRECTORY NAME): one file under a name that its tool looks for.
function(coppice_install_as file directory name)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${file})
    install(FILES ${PROJECT_SOURCE_DIR}/${file} DESTINATION ${directory} RENAME ${name})
  endif()
endfunction()

foreach(section 1 5 7 8)
  file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/man/*.${section})
  if(pages)
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endif()
endforeach()
coppice_install_as(completion/coppice.bash ${CMAKE_INSTALL_DATADIR}/bash-completion/completions coppice)
coppice_install_as(completion/coppice-runtime.bash ${CMAKE_INSTALL_DATADIR}/bash-completion/completions coppice-runtime)
coppice_install_as(completion/_coppice ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions _coppice)
coppice_install_as(completion/coppice.fish ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d coppice.fish)

# Not below lib64: systemd looks nowhere else.
foreach(unit coppiced.service coppiced.socket)
  coppice_install_as(packaging/systemd/${unit} lib/systemd/system ${unit})
endforeach()

set(COPPICE_DOCDIR ${CMAKE_INSTALL_DATADIR}/doc/coppice)
coppice_install_as(README.md ${COPPICE_DOCDIR} README.md)
coppice_install_as(CHANGELOG.md ${COPPICE_DOCDIR} changelog)
# Names the licence and those of what is linked in.
coppice_install_as(packaging/debian/copyright ${COPPICE_DOCDIR} copyright)

set(CPACK_GENERATOR DEB)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_PACKAGE_NAME coppice)
set(CPACK_PACKAGE_VENDOR "Coppice developers")
set(CPACK_PACKAGE_CONTACT "Coppice developers <coppice@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER ${CPACK_PACKAGE_CONTACT})
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "erofs-utils, mmdebstrap")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "skopeo, qemu-utils, openssh-client") # for imports from registries, qcow2, machines
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/packaging/debian/postinst ${PROJECT_SOURCE_DIR}/packaging/debian/prerm
  ${PROJECT_SOURCE_DIR}/packaging/debian/postrm)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "OS-level virtualization with versioned, shared root file systems")
set(CPACK_PACKAGE_DESCRIPTION
  "Coppice starts many isolated Linux instances from one golden, read-only image\n\
and keeps what each of them writes apart: kept, or undone at the next stop.\n\
.\n\
The package holds the command line, the daemon with its systemd units, and\n\
coppice-runtime, an OCI runtime that works below podman, containerd and docker.")

# Between staging and packing: what the builder's umask did to directories is undone, and manual pages and the change
# log are compressed, without a time stamp, as Debian wants them.
file(WRITE ${PROJECT_BINARY_DIR}/prepare_package.cmake [[
file(CHMOD_RECURSE ${CPACK_TEMPORARY_INSTALL_DIRECTORY} DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
file(GLOB_RECURSE files LIST_DIRECTORIES false
  ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/*/share/man/man*/*.[1-8]
  ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/*/share/doc/coppice/changelog)
foreach(file ${files})
  execute_process(COMMAND gzip -9 -n -f ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
]])
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_BINARY_DIR}/prepare_package.cmake)
include(CPack)
