/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the parts of a bundle (deploy/bundle), which has crivirt and all that it needs in one directory, for
 * nodes that have none of it. A program is in a bundle when it is bin/NAME of a directory that has the file
 * share/crivirt/relocations. Everything else in there is found relative to the program, so that a daemon uses
 * the files of its own version while another one is installed beside it.
 *
 * Threads: any, but for bundle_prepare_environment().
 */
#pragma once

#include <glib.h>

/* Return: the directory of the bundle; NULL when this program is in none; static. */
const char *bundle_root(void);

/* Return: where a file of a Debian package is: for a path below /usr, or below /var/lib/crivirt/guest, that
 * in the bundle; the path itself otherwise, and without a bundle. The caller frees it. */
char *bundle_path(const char *path);

/* Return: the certificates that registries are checked with: the node's or, where it has none, the bundle's.
 * NULL without a bundle, for the library's default; static. */
const char *bundle_certificates(void);

/* Sets the environment by which programs and libraries find their parts in the bundle. Does nothing without a
 * bundle. It is called before the first thread is started. */
void bundle_prepare_environment(void);
