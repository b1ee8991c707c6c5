/* SPDX-License-Identifier: Apache-2.0 */
/* Decompressors of xz and bzip2, step by step.
 *
 * Images are loaded from archives in these compressions; layers of registries never have them. An xz stream
 * whose dictionary needs more than 128 MiB is refused; bzip2 takes 4 MiB.
 *
 * Each step takes what it can of the input and makes what fits into the output; *ret_ended is whether a
 * stream is complete, after which the next one can begin. Return: FALSE for broken data, INVALID_ARGUMENT.
 * One thread for each object.
 */
#pragma once

#include <glib.h>

typedef struct Unxz Unxz;
Unxz *unxz_new(void);
void unxz_free(Unxz *unxz); /* takes NULL */
gboolean unxz_step(Unxz *unxz, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                   gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error);

typedef struct Bunzip2 Bunzip2;
Bunzip2 *bunzip2_new(void);
void bunzip2_free(Bunzip2 *bunzip2); /* takes NULL */
gboolean bunzip2_step(Bunzip2 *bunzip2, const guint8 *in, gsize in_length, guint8 *out, gsize out_size,
                      gsize *ret_used, gsize *ret_made, gboolean *ret_ended, GError **error);
