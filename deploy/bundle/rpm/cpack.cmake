# SPDX-License-Identifier: Apache-2.0
# CPack's configuration of the bundle's RPM; rpm.sh sets the variables of the environment.
set(CPACK_GENERATOR RPM)
set(CPACK_PACKAGE_NAME crivirt)
set(CPACK_PACKAGE_VENDOR crivirt)
set(CPACK_PACKAGE_VERSION $ENV{CRIVIRT_BUNDLE_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Kubernetes pods in virtual machines")
set(CPACK_PACKAGE_DESCRIPTION "A container runtime (CRI v1) that runs each pod in a QEMU guest, with all that it needs below /opt/crivirt.")
set(CPACK_INSTALLED_DIRECTORIES "$ENV{CRIVIRT_ROOT};/")
set(CPACK_PACKAGING_INSTALL_PREFIX /)
set(CPACK_SET_DESTDIR OFF)
set(CPACK_STRIP_FILES OFF)
set(CPACK_PACKAGE_FILE_NAME crivirt-$ENV{CRIVIRT_BUNDLE_VERSION}) # required, but the next one names the file
set(CPACK_RPM_FILE_NAME RPM-DEFAULT)
if("$ENV{CRIVIRT_BUNDLE_ARCHITECTURE}" STREQUAL amd64)
  set(CPACK_RPM_PACKAGE_ARCHITECTURE x86_64)
else()
  set(CPACK_RPM_PACKAGE_ARCHITECTURE aarch64)
endif()
set(CPACK_RPM_PACKAGE_RELEASE 1)
set(CPACK_RPM_PACKAGE_LICENSE "Apache-2.0, and the licences of its parts in share/crivirt/sbom.spdx.json")
set(CPACK_RPM_PACKAGE_GROUP System/Daemons)
set(CPACK_RPM_PACKAGE_REQUIRES systemd)
# The bundle's libraries are its own: the package offers none of them, and needs none of the node.
set(CPACK_RPM_PACKAGE_AUTOREQPROV OFF)
# The files stay as the bundle's digests say: nothing is stripped, compressed or compiled.
set(CPACK_RPM_SPEC_MORE_DEFINE "%global debug_package %{nil}
%global _build_id_links none
%global __os_install_post %{nil}
%global _binary_payload w12.zstdio
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1
%global _buildhost crivirt")
set(CPACK_RPM_USER_FILELIST "%config(noreplace) /etc/crivirt/crivirt.toml")
set(CPACK_RPM_EXCLUDE_FROM_AUTO_FILELIST_ADDITION /etc /opt /usr/bin /usr/lib /usr/lib/systemd /usr/lib/systemd/system)
set(CPACK_RPM_POST_INSTALL_SCRIPT_FILE ${CMAKE_CURRENT_LIST_DIR}/post)
set(CPACK_RPM_PRE_UNINSTALL_SCRIPT_FILE ${CMAKE_CURRENT_LIST_DIR}/preun)
