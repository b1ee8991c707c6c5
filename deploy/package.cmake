# SPDX-License-Identifier: Apache-2.0
# Target `deb` builds a Debian package of what cmake --install installs; target `bundle`, one directory with that and all that it
# needs (docs/install.md).
# The package's dependencies are the group `runtime` of deploy/packages; the scripts in deploy/deb run when it is installed and removed.
set(CRIVIRT_MAINTAINER "crivirt <root@localhost>" CACHE STRING "the maintainer of the Debian package")

execute_process(COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/packages.sh --list runtime
                OUTPUT_VARIABLE runtime RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
if(failed)
  return() # this is not Debian
endif()
string(REPLACE "\n" ", " runtime "${runtime}")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME crivirt)
set(CPACK_PACKAGE_CONTACT "${CRIVIRT_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Kubernetes pods in virtual machines")
set(CPACK_PACKAGE_DESCRIPTION
    "A container runtime (CRI v1) that runs each pod in a QEMU guest, managed through libvirt.\
 For the kubelet, crictl, or the command line crivirt.")
set(CPACK_SET_DESTDIR ON) # /etc and /var are not below the prefix
set(CPACK_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# The package of a later release replaces that of Debian 12 when a node is upgraded.
file(STRINGS /etc/os-release release REGEX "^VERSION_ID=")
string(REGEX REPLACE "[^0-9]" "" release "${release}")
if(release GREATER 12)
  set(CPACK_DEBIAN_PACKAGE_RELEASE "deb${release}")
endif()
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${runtime}, passwd")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "curl, jq") # crivirt-switch.service
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_SOURCE_DIR}/deb/conffiles ${CMAKE_CURRENT_SOURCE_DIR}/deb/postinst
    ${CMAKE_CURRENT_SOURCE_DIR}/deb/prerm ${CMAKE_CURRENT_SOURCE_DIR}/deb/postrm)
include(CPack)

# The package contains the guest image and crivirt's own QEMU, so that a node needs nothing else.
if(TARGET guest-image)
  add_custom_target(deb
    COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR}
    COMMAND ${CMAKE_CPACK_COMMAND} -G DEB
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR} USES_TERMINAL VERBATIM)
  add_dependencies(deb guest-image)
  if(TARGET qemu)
    add_dependencies(deb qemu)
  endif()

  add_custom_target(bundle
    COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/bundle/make.sh ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/bundle
    USES_TERMINAL VERBATIM)
  add_dependencies(bundle guest-image)
  if(TARGET qemu)
    add_dependencies(bundle qemu)
  endif()
endif()
