/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the QEMU that runs the VMs, and asks it for its version.
 *
 * crivirt has a QEMU of its own (deploy/qemu): Debian's source with the devices and features that a guest
 * has, and no others. Where it is not installed, and below a libvirtd, whose AppArmor profile lets it run the
 * QEMUs of packages only, Debian's runs the VMs.
 *
 * Threads: any.
 */
#pragma once

#include <glib.h>

#define QEMU_PROGRAM_DIRECTORY "/usr/lib/crivirt"

typedef struct {
    char *path;
    char *version;  /* as it reports it, "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)" */
    gulong number;  /* major * 1000000 + minor * 1000 + release, as libvirt encodes versions */
    gboolean own;   /* crivirt's */
    gboolean named; /* libvirt has to be given the path: by itself it would take the one on PATH */
} QemuProgram;

void qemu_program_clear(QemuProgram *program);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(QemuProgram, qemu_program_clear)

/* Return: whether the text can be a value of the option hypervisor.qemu: "auto", "debian" or an absolute
 * path.
 */
gboolean qemu_program_wish_is_valid(const char *wish);

/* Chooses by the option's value, and runs the program once for its version. embedded: without a libvirtd.
 * Errors: INVALID_ARGUMENT for another value; FAILED_PRECONDITION with the path when there is no such
 * program, or it does not run or is no QEMU for this node's architecture. */
gboolean qemu_program_find(const char *wish, gboolean embedded, QemuProgram *ret_program, GError **error);

/* Pure. Return: whether crivirt's own QEMU was built from another version of Debian's source package than the
 * one that Debian's was built from, which may have corrections of security. */
gboolean qemu_program_is_outdated(const QemuProgram *own, const QemuProgram *debian);

/* Pure. output: of --version. Return: FALSE when it is not QEMU's; path and named are left as they are. */
gboolean qemu_program_parse(const char *output, QemuProgram *ret_program);
