# SPDX-License-Identifier: Apache-2.0
# A Debian package of what cmake --install installs:  cmake --build build/release --target deb
# Its dependencies are the group `runtime` of deploy/packages; deploy/deb says what happens around its installation.
set(CRIVIRT_MAINTAINER "crivirt <root@localhost>" CACHE STRING "who a Debian package says that it is from")

execute_process(COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/packages.sh --list runtime
                OUTPUT_VARIABLE runtime RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE)
if(failed)
  return() # no Debian here
endif()
string(REPLACE "\n" ", " runtime "${runtime}")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME crivirt)
set(CPACK_PACKAGE_CONTACT "${CRIVIRT_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Kubernetes pods in virtual machines")
set(CPACK_PACKAGE_DESCRIPTION
    "A container runtime (CRI v1) that makes of each pod one QEMU guest, managed through libvirt.\
 For the kubelet, crictl, or the command line crivirt.")
set(CPACK_SET_DESTDIR ON) # /etc and /var are not below the prefix
set(CPACK_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${runtime}, passwd")
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_SOURCE_DIR}/deb/conffiles ${CMAKE_CURRENT_SOURCE_DIR}/deb/postinst
    ${CMAKE_CURRENT_SOURCE_DIR}/deb/prerm ${CMAKE_CURRENT_SOURCE_DIR}/deb/postrm)
include(CPack)

# With the guest image in it: the package is all that a node needs.
if(TARGET guest-image)
  add_custom_target(deb
    COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR}
    COMMAND ${CMAKE_CPACK_COMMAND} -G DEB
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR} USES_TERMINAL VERBATIM)
  add_dependencies(deb guest-image)
endif()
