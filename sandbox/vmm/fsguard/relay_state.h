/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest has of its file server, as a file: for a guest that is saved and goes on elsewhere.
 *
 * The file has a header with a version, the numbers of records and a checksum of what follows; then the
 * session, and the nodes with their names, the handles and the locks. Numbers are little-endian. A file that
 * is not of that form, or whose checksum or any of its numbers is wrong, is refused, and changes nothing.
 */
#pragma once

#include "sandbox/vmm/fsguard/relay.h"

/* Writes the file at the position of the descriptor, which stays the caller's. The guest's rings have to be
 * stopped. Return: 0; EBUSY while requests are under way; else an errno. */
int relay_save(Relay *relay, int fd);

/* Reads the file into a relay that no guest has used yet. The server of relay_begin() is set up with it, as a
 * successor is. same_files: the volumes are those of the saved guest, so that a file whose inode has another
 * number is another file; else a name and a type are enough, as for copies of volumes. Return: 0; EBUSY when
 * the guest has begun a session; EINVAL for an invalid file; else an errno. */
int relay_load(Relay *relay, int fd, bool same_files);
