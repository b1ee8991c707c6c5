/* SPDX-License-Identifier: Apache-2.0 */
/* One gzip member after another (RFC 1952), in pieces.
 *
 * Built on ISA-L where it is installed, which halves the CPU time of unpacking a layer, else on zlib; both
 * check the length and CRC of every member. One thread per object.
 */
#pragma once

#include <glib.h>

typedef struct Gunzip Gunzip;

Gunzip *gunzip_new(void);
void gunzip_free(Gunzip *gunzip); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Gunzip, gunzip_free)

/* Decompresses as much of in as fits into out; *ret_used and *ret_made are the bytes taken and produced,
 * which may both be 0 when more input is needed. *ret_ended: a member is complete; the next byte begins
 * another. Errors: INVALID_ARGUMENT for bad data. */
gboolean gunzip_step(Gunzip *gunzip, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                     gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error);
